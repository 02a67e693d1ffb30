"""Runs the planner on a loaded model: benches of prompts, measuring runs, and the plan's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from .. import __version__
from ..deepcache import DeepCache
from ..deepcache.calibrated import PlannedSlopes
from ..deepcache.responses import Responses
from ..errors import OptionError
from ..plan import Measured, Plan, Planner, Trial, fingerprint, output_gains, verification
from ..plan.collector import ResponseCollector
from ..plan.likeness import median_psnr
from ..plan.planner import print_nothing
from ..plan.presets import LOSSLESS
from ..plan.verification import Points, latent_figures
from .lpips import load_lpips, lpips_unavailable
from .plan_progress import PlanProgress
from .prompt_bench import RunBench
from .samplers import new_scheduler


def measure(bench: RunBench, branches: Sequence[int], *, prompts: int = 4) -> Measured:
    """Responses, gains and work of a model on the first prompts of a bench: one uncached run of each per branch.

    Raises:
        OptionError: if the pipeline does not say how many evaluations it runs, or the sampler its noise levels.
        UnsupportedModelError: if the sampler cannot be run on numbers.
    """
    settings, pipe = bench.settings, bench.model.pipe
    scheduler = new_scheduler(settings.sampler, pipe.scheduler.config)
    scheduler.set_timesteps(settings.steps)
    responses: dict[int, Responses] = {}
    work: dict[int, float] = {}
    for branch in branches:
        collector = ResponseCollector(len(scheduler.timesteps))
        options = DeepCache(branch=branch, forecast="calibrated", interval=2)
        reports = bench.run(options, prompts=prompts, calibrations=collector)
        flops = reports[0][1].flops
        if collector.responses is None or flops is None:
            raise OptionError(
                "this pipeline does not tell how many evaluations it runs, or keeps its weights elsewhere"
            )
        if collector.responses.log_sigmas is None:
            raise OptionError(_no_levels(settings.sampler))
        responses[branch] = collector.responses
        work[branch] = flops.reuse / flops.full
    return Measured(responses=responses, gains=output_gains(scheduler), work=work)


def new_planner(
    bench: RunBench,
    branches: Sequence[int],
    note: Callable[[str], None] = print_nothing,
    progress: PlanProgress | None = None,
) -> Planner:
    """Measure the model on `bench` and be ready to search; `note` is told of every step."""
    measured = None if progress is None else progress.measured
    if measured is None:
        note("measuring the model")
        measured = measure(bench, branches)
        if progress is not None:
            progress.keep_measured(measured)
    return Planner(bench, measured, median_psnr, note, progress)


def search_settings(bench: RunBench, branches: Sequence[int]) -> dict[str, Any]:
    """What makes two searches the same, plain enough for JSON."""
    return {
        "version": __version__,
        "model": fingerprint(bench.model.pipe.unet).as_dict(),
        "run": vars(bench.settings),
        "prompts": list(bench.prompts),
        "first_seed": bench.first_seed,
        "branches": list(branches),
        "device": str(bench.model.pipe.device),
        "dtype": str(bench.model.pipe.unet.dtype),
    }


def yardsticks(bench: RunBench, planner: Planner) -> tuple[Points, Points]:
    """(FLOP speed-up, PSNR) of uniform verbatim reuse and of fewer steps on the search prompts."""
    return verification.yardsticks(bench, planner, steps=bench.settings.steps)


def held_out_figures(bench: RunBench, trial: Trial) -> dict[str, Any]:
    """A trial on prompts that the search did not see, with what the same work gives otherwise. Latent PSNR in dB."""
    settings = bench.settings
    figures = {
        "flop_speedup": round(trial.speedup, 3),
        **latent_figures(bench, trial, steps=settings.steps),
        "prompts": len(bench.prompts),
        "guidance_scale": settings.guidance_scale,
        "size": [settings.width, settings.height],
    }
    if lpips_unavailable() is None:
        distance = load_lpips()
        pairs = zip(bench.pictures(LOSSLESS), bench.pictures(trial.options), strict=True)
        figures["lpips"] = round(median(distance(one, other) for one, other in pairs), 4)
    return figures


def as_plan(bench: RunBench, planner: Planner, trial: Trial, figures: dict[str, Any]) -> Plan:
    """A trial as a plan that can be written."""
    levels = next(iter(planner.measured.responses.values())).log_sigmas
    if levels is None:
        raise OptionError(_no_levels(bench.settings.sampler))
    model = bench.model
    return Plan(
        model=model.name,
        fingerprint=fingerprint(model.pipe.unet),
        family=model.family,
        sampler=bench.settings.sampler,
        steps=bench.settings.steps,
        passes=trial.passes,
        log_sigmas=levels,
        slopes=trial.slopes or PlannedSlopes({}),
        measured=figures,
    )


def _no_levels(sampler: str) -> str:
    return f"{sampler} does not tell its noise levels, which plans go by; plan for another sampler, such as euler"
