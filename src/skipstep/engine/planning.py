"""Runs the planner on a loaded model: benches of prompts, measuring runs, and the plan's figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from torch import Tensor

from .. import __version__
from ..deepcache import DeepCache
from ..deepcache.calibrated import PlannedSlopes, SlopeTable
from ..deepcache.calibration import RunShape
from ..deepcache.responses import Responses
from ..errors import OptionError
from ..plan import Measured, Plan, Planner, Trial, fingerprint, output_gains
from ..plan.planner import print_nothing
from .lpips import load_lpips, lpips_unavailable
from .metrics import latent_psnr
from .plan_plot import Points
from .plan_progress import PlanProgress
from .presets import LOSSLESS
from .prompt_bench import RunBench
from .samplers import new_scheduler

MAX_WINDOW = 64


class _Collector:
    """Takes what measuring runs tell, and never has slopes, so that every run measures."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.responses: Responses | None = None

    def get(self, shape: RunShape) -> SlopeTable | None:
        """Nothing, always."""
        return None

    def put(self, shape: RunShape, responses: Responses) -> None:
        """Add up."""
        if self.responses is None:
            self.responses = responses
        else:
            self.responses.add(responses.inner)


def measure(bench: RunBench, branches: Sequence[int], *, prompts: int = 4) -> Measured:
    """Responses, gains and work of a model on the first prompts of a bench: one uncached run of each per branch.

    Raises:
        OptionError: if the pipeline does not say how many evaluations it runs, or the sampler its noise levels.
        UnsupportedModelError: if the sampler cannot be run on numbers.
    """
    settings, pipe = bench.settings, bench.model.pipe
    scheduler = new_scheduler(settings.sampler, pipe.scheduler.config)
    scheduler.set_timesteps(settings.steps)
    window = min(len(scheduler.timesteps), MAX_WINDOW)
    responses: dict[int, Responses] = {}
    work: dict[int, float] = {}
    for branch in branches:
        collector = _Collector(window)
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


def median_psnr(reference: Tensor, latents: Tensor) -> float:
    """Median over prompts of the latent PSNR, dB."""
    return median(latent_psnr(one, other) for one, other in zip(reference, latents, strict=True))


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
    steps, evaluations = bench.settings.steps, planner.evaluations
    reuse = min(planner.measured.work.values())
    verbatim, fewer = [], []
    for interval in (2, 3, 5):
        full = -(-evaluations // interval)
        made = bench.latents(DeepCache(interval=interval, forecast="verbatim"))
        verbatim.append((evaluations / (full + (evaluations - full) * reuse), median_psnr(bench.reference, made)))
        few = max(1, steps // interval)
        fewer.append((steps / few, median_psnr(bench.reference, bench.latents(LOSSLESS, steps=few))))
    return verbatim, fewer


def held_out_figures(bench: RunBench, trial: Trial) -> dict[str, Any]:
    """A trial on prompts that the search did not see, with what the same work gives otherwise. Latent PSNR in dB."""
    settings = bench.settings

    def psnr(options: DeepCache, steps: int | None = None) -> float:
        return round(median_psnr(bench.reference, bench.latents(options, steps=steps)), 2)

    full = sum(branch is None for branch in trial.passes)
    count = len(trial.passes)
    even = tuple(index * count // full for index in range(full))
    fewer = max(1, round(settings.steps / trial.speedup))
    figures = {
        "flop_speedup": round(trial.speedup, 3),
        "full_passes": full,
        "latent_psnr_db": psnr(trial.options),
        "same_schedule_verbatim_db": psnr(replace(trial.options, forecast="verbatim")),
        "uniform_linear_db": psnr(DeepCache(full_evaluations=even, forecast="linear")),
        "uniform_verbatim_db": psnr(DeepCache(full_evaluations=even, forecast="verbatim")),
        "fewer_steps": fewer,
        "fewer_steps_db": psnr(LOSSLESS, fewer),
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
