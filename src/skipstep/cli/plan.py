"""`skipstep plan`: the best schedule for a model, a sampler and a number of steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import OptionError
from ._console import console, quiet_libraries
from ._plan_benches import HELD_OUT_SEED, Wanted, clip_benches, prompt_benches
from .image import Config, Debug, Device, Dtype, Guidance, Sampler, Side

if TYPE_CHECKING:
    from ..engine.plan_job import PlanJob
    from ..engine.prompt_bench import RunBench
    from ..plan.targets import Outcome

ModelArgument = Annotated[str, typer.Argument(help="demo, demo-sd15, demo-svd, a diffusers folder, or a single file.")]
Speed = Annotated[float | None, typer.Option(help="Speed-up by UNet FLOPs to reach: 3 is usual.")]
Psnr = Annotated[float | None, typer.Option(help="Median latent PSNR to the uncached run to keep, in dB: 40 is usual.")]
Lpips = Annotated[float | None, typer.Option(help="Greatest median LPIPS; needs its weights (docs/quality.md).")]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompts", help="A text file, one prompt a line; a third is held out. The demo has its own."),
]
Images = Annotated[
    Path | None, typer.Option(help="For clips: a folder of pictures to start from. The demo has its own.")
]
Frames = Annotated[int | None, typer.Option(help="For clips: how many; the model's own if not given.")]
Steps = Annotated[int | None, typer.Option(help="Denoising steps; 30, or 25 for clips.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The plan; .safetensors, .png and .svg go beside it.")]
Branches = Annotated[
    list[int] | None, typer.Option("--branch", help="A skip at which to cut, again for each; 0 if not given.")
]
Seed = Annotated[int, typer.Option(help="The first seed; prompts count up from it.", min=0, max=HELD_OUT_SEED - 1)]
Batch = Annotated[int, typer.Option(help="Pictures that are drawn at once.", min=1, max=64)]
Count = Annotated[int | None, typer.Option("--limit", help="Use only the first so many prompts.", min=1)]


def plan(
    model: ModelArgument = "demo",
    speed: Speed = None,
    psnr: Psnr = None,
    lpips: Lpips = None,
    prompts: PromptFile = None,
    images: Images = None,
    out: Out = Path("plan.json"),
    branch: Branches = None,
    config: Config = None,
    width: Side = None,
    height: Side = None,
    frames: Frames = None,
    steps: Steps = None,
    guidance: Guidance = None,
    seed: Seed = 0,
    sampler: Sampler = "euler",
    batch: Batch = 4,
    limit: Count = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    debug: Debug = False,
) -> None:
    """Measure a model, search the best schedule for a target, verify it by real runs, and write it as a plan."""
    import torch

    from ..engine.models import IMAGE_FAMILIES, VIDEO_FAMILIES, load_model
    from ..engine.plan_job import PlanJob, check_plan_output
    from ..engine.plan_targets import Target

    target = Target(speed=speed, psnr=psnr, lpips=lpips)
    wanted = Wanted(
        width=width, height=height, frames=frames, steps=steps, guidance=guidance, sampler=sampler, seed=seed
    )
    check_plan_output(out)
    if not debug:
        quiet_libraries()
    loaded = load_model(model, config=config, device=device, dtype=dtype, families=IMAGE_FAMILIES + VIDEO_FAMILIES)
    if loaded.is_demo:
        torch.set_num_threads(1)
    search: RunBench
    held_out: RunBench
    if loaded.family in VIDEO_FAMILIES:
        if prompts is not None:
            raise OptionError(f"prompts are for pictures, and {loaded.name} makes clips; give --images FOLDER")
        search, held_out = clip_benches(loaded, wanted, images, limit)
    else:
        if images is not None or frames is not None:
            raise OptionError(f"images and frames are for clips, and {loaded.name} draws pictures; leave them out")
        search, held_out = prompt_benches(loaded, wanted, prompts, limit, batch)
    job = PlanJob(search=search, held_out=held_out, branches=tuple(sorted(set(branch or [0]))), out=out)
    if job.progress.resumed:
        console.print(f"going on from {job.progress.path}, where {job.progress.resumed} schedules were run before")
    with console.status("measuring the model") as status:
        runs = 0

        def note(text: str) -> None:
            nonlocal runs
            runs += 1
            status.update(f"step {runs}: {text}")

        outcome = job.run(target, note)
    _print(outcome, out)
    console.print(f"use        {_command(model, job, out)}")


def _print(outcome: Outcome, out: Path) -> None:
    figures = outcome.figures
    rows = {
        "plan": str(out),
        "full": ", ".join(str(index) for index, branch in enumerate(outcome.trial.passes) if branch is None),
        "speed-up": f"{figures['flop_speedup']:.2f} by UNet FLOPs ({figures['full_passes']} full passes)",
        "quality": f"{figures['latent_psnr_db']:.1f} dB latent PSNR, median of {figures['prompts']} held-out prompts",
        "uniform": f"linear {figures['uniform_linear_db']:.1f} dB, verbatim {figures['uniform_verbatim_db']:.1f} dB",
        "fewer": f"{figures['fewer_steps']} uncached steps: {figures['fewer_steps_db']:.1f} dB",
        "plot": f"{out.with_suffix('.png')}, {out.with_suffix('.svg')}",
    }
    for name, text in rows.items():
        console.print(f"{name:<10} {text}")
    for line in outcome.advice:
        console.print(f"advice     {line}")


def _command(model: str, job: PlanJob, out: Path) -> str:
    """How to use the plan as it was measured."""
    settings = job.search.settings
    if job.search.model.family == "svd":
        words = ["skipstep", "video", "PICTURE", "--cache", str(out)]
        if model != "demo-svd":
            words += ["--model", model]
        return shlex.join([*words, "--steps", str(settings.steps)])
    words = ["skipstep", "image", "PROMPT", "--cache", str(out)]
    if model != "demo":
        words += ["--model", model]
    return shlex.join([*words, "--steps", str(settings.steps), "--sampler", settings.sampler])
