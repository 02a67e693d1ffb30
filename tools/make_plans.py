"""Plans the demo models' presets: `python tools/make_plans.py --sampler euler`, some 25 minutes on one thread.

`--model demo-svd --steps 25` plans clips: half an hour for each preset.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch

from skipstep.demo import COLOURS, OBJECTS
from skipstep.engine import load_model
from skipstep.engine.media import write_whole
from skipstep.engine.models import IMAGE_FAMILIES, VIDEO_FAMILIES, LoadedModel
from skipstep.engine.planning import as_plan, held_out_figures, new_planner
from skipstep.engine.prompt_bench import PromptBench, RunBench, RunSettings
from skipstep.engine.prompts import demo_prompts
from skipstep.engine.video_bench import ClipBench, ClipSettings
from skipstep.engine.video_starts import demo_starts
from skipstep.plan import plan_bytes

TARGET = Path(__file__).parents[1] / "src/skipstep/demo/plans"
NAMES = ("quality", "balanced", "fast")
FULL_PASSES = {10: (7, 5, 4), 20: (10, 7, 6), 30: (15, 10, 6), 50: (25, 17, 7)}
CLIP_FULL_PASSES = {25: (11, 7, 5)}  # a reuse pass is dearer
# with fewer full passes, fewer steps are nearer to the full run
EXCEPTIONS = {("dpmpp_2m", 10): (7, 6, 6)}


def search_prompts(count: int) -> list[str]:
    """Prompts that the evaluations never use."""
    held_out = set(demo_prompts())
    prompts = [f"a {thing} on a {colour} background" for thing in OBJECTS for colour in COLOURS]
    prompts = [prompt for prompt in prompts if prompt not in held_out]
    random.Random(0).shuffle(prompts)
    return prompts[:count]


def benches(model: LoadedModel, arguments: argparse.Namespace, steps: int) -> tuple[RunBench, RunBench]:
    """What is searched on, and what is held out."""
    width, height = model.size
    if model.family in VIDEO_FAMILIES:
        frames = int(model.pipe.unet.config.num_frames)
        clips = ClipSettings(
            steps=steps, guidance_scale=model.guidance_scale, width=width, height=height, frames=frames
        )
        starts = demo_starts(64)[-(arguments.prompts + arguments.held_out) :]  # tables use the first
        return (
            ClipBench(model, clips, starts[: arguments.prompts], first_seed=10_000),
            ClipBench(model, clips, starts[arguments.prompts :], first_seed=20_000),
        )
    settings = RunSettings(
        sampler=arguments.sampler, steps=steps, guidance_scale=model.guidance_scale, width=width, height=height
    )
    return (
        PromptBench(model, settings, search_prompts(arguments.prompts), first_seed=10_000),
        PromptBench(model, settings, demo_prompts()[: arguments.held_out], first_seed=20_000),
    )


def main() -> None:
    """Plan every preset of one sampler."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--steps", type=int, nargs="+", default=list(FULL_PASSES))
    parser.add_argument("--model", default="demo")
    parser.add_argument("--presets", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--held-out", type=int, default=24)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(arguments.model, families=IMAGE_FAMILIES + VIDEO_FAMILIES)
    known = CLIP_FULL_PASSES if model.family in VIDEO_FAMILIES else FULL_PASSES
    TARGET.mkdir(exist_ok=True)
    for steps in arguments.steps:
        bench, held_out = benches(model, arguments, steps)
        planner = new_planner(bench, [0])
        counts = EXCEPTIONS.get((arguments.sampler, steps), known[steps])
        for name, full_passes in zip(NAMES, counts, strict=True):
            if name not in arguments.presets:
                continue
            trial = planner.best(full_passes)
            plan = as_plan(bench, planner, trial, held_out_figures(held_out, trial))
            stem = f"{arguments.model}.{name}.{arguments.sampler}.{steps}"
            text, coefficients = plan_bytes(plan, f"{stem}.safetensors")
            write_whole(TARGET / f"{stem}.safetensors", coefficients)
            write_whole(TARGET / f"{stem}.json", text)
            print(stem, f"search {trial.psnr:.2f} dB", plan.full_evaluations, plan.measured, flush=True)


if __name__ == "__main__":
    main()
