"""`skipstep plan`: the best schedule for a model, a sampler and a number of steps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import OptionError
from ._console import console, quiet_libraries
from .image import Config, Debug, Device, Dtype, Guidance, Sampler, Side, Steps

if TYPE_CHECKING:
    from ..engine.models import LoadedModel
    from ..engine.plan_targets import Outcome
    from ..engine.planning import RunSettings

HELD_OUT_SEED = 1_000_000
SMALLEST = 6  # prompts: two thirds for the search, the others held out

ModelArgument = Annotated[str, typer.Argument(help="demo, demo-sd15, a diffusers folder, or an SDXL single file.")]
Speed = Annotated[float | None, typer.Option(help="Speed-up by UNet FLOPs to reach: 3 is usual.")]
Psnr = Annotated[float | None, typer.Option(help="Median latent PSNR to the uncached run to keep, in dB: 40 is usual.")]
Lpips = Annotated[float | None, typer.Option(help="Greatest median LPIPS; needs its weights (docs/quality.md).")]
PromptFile = Annotated[
    Path | None,
    typer.Option("--prompts", help="A text file, one prompt a line; a third is held out. The demo has its own."),
]
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
    out: Out = Path("plan.json"),
    branch: Branches = None,
    config: Config = None,
    width: Side = None,
    height: Side = None,
    steps: Steps = 30,
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

    from ..engine import ImageRequest, load_model
    from ..engine.plan_job import PlanJob, check_plan_output
    from ..engine.plan_targets import Target
    from ..engine.planning import PromptBench, RunSettings

    target = Target(speed=speed, psnr=psnr, lpips=lpips)
    sizes: dict[str, Any] = {"width": width, "height": height, "steps": steps, "guidance_scale": guidance}
    ImageRequest(prompt="", cache="lossless", seed=0, sampler=sampler, **sizes)  # refuses what is out of range
    check_plan_output(out)
    if not debug:
        quiet_libraries()
    loaded = load_model(model, config=config, device=device, dtype=dtype)
    if loaded.is_demo:
        torch.set_num_threads(1)
    searched, held = split_prompts(_texts(loaded, prompts, limit))
    settings = RunSettings(
        sampler=sampler,
        steps=steps,
        guidance_scale=loaded.guidance_scale if guidance is None else guidance,
        width=width or loaded.size[0],
        height=height or loaded.size[1],
    )
    job = PlanJob(
        search=PromptBench(loaded, settings, searched, first_seed=seed, batch=batch),
        held_out=PromptBench(loaded, settings, held, first_seed=HELD_OUT_SEED + seed, batch=batch),
        branches=tuple(sorted(set(branch or [0]))),
        out=out,
    )
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
    console.print(f"use        {_command(model, settings, out)}")


def split_prompts(texts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two thirds for the search and the others to be held out, in turns.

    Raises:
        OptionError: if there are fewer than 6.
    """
    if len(texts) < SMALLEST:
        raise OptionError(
            f"a plan needs {SMALLEST} prompts or more, got {len(texts)}: two thirds are for the search, and the others "
            "are held out, since a search on few prompts fits those"
        )
    held = texts[2::3]
    return tuple(text for text in texts if text not in held), held


def _texts(model: LoadedModel, prompts: Path | None, limit: int | None) -> tuple[str, ...]:
    from ..engine.prompts import demo_prompts, read_prompts

    if prompts is None and not model.is_demo:
        raise OptionError(f"--prompts is needed for {model.name}: a text file with one prompt a line")
    texts = demo_prompts() if prompts is None else read_prompts(prompts)
    return texts[:limit]


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


def _command(model: str, settings: RunSettings, out: Path) -> str:
    """How to draw with the plan as it was measured."""
    words = ["skipstep", "image", "PROMPT", "--cache", str(out)]
    if model != "demo":
        words += ["--model", model]
    return shlex.join([*words, "--steps", str(settings.steps), "--sampler", settings.sampler])
