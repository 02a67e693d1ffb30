"""What a plan is worth: on held-out prompts, and against what the same work gives otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from ..deepcache import DeepCache
from .likeness import median_psnr
from .planner import Planner, Trial
from .presets import LOSSLESS

Points = Sequence[tuple[float, float]]  # (speed-up by the work, latent PSNR in dB)


class VerifyingBench(Protocol):
    """Runs the model on a fixed set of prompts and seeds, with any number of steps."""

    @property
    def reference(self) -> Tensor:
        """Final latents of the uncached runs."""
        ...

    def latents(self, options: DeepCache, *, steps: int | None = None) -> Tensor:
        """Final latents of all, in float32."""
        ...


def latent_figures(bench: VerifyingBench, trial: Trial, *, steps: int) -> dict[str, Any]:
    """A trial on a bench, with what the same work gives otherwise. Median latent PSNR in dB."""

    def psnr(options: DeepCache, fewer: int | None = None) -> float:
        return round(median_psnr(bench.reference, bench.latents(options, steps=fewer)), 2)

    full = sum(branch is None for branch in trial.passes)
    count = len(trial.passes)
    even = tuple(index * count // full for index in range(full))
    fewer = max(1, round(steps / trial.speedup))
    return {
        "full_passes": full,
        "latent_psnr_db": psnr(trial.options),
        "same_schedule_verbatim_db": psnr(replace(trial.options, forecast="verbatim")),
        "uniform_linear_db": psnr(DeepCache(full_evaluations=even, forecast="linear")),
        "uniform_verbatim_db": psnr(DeepCache(full_evaluations=even, forecast="verbatim")),
        "fewer_steps": fewer,
        "fewer_steps_db": psnr(LOSSLESS, fewer),
    }


def yardsticks(bench: VerifyingBench, planner: Planner, *, steps: int) -> tuple[Points, Points]:
    """Points of uniform verbatim reuse and of fewer steps on a bench."""
    evaluations = planner.evaluations
    reuse = min(planner.measured.work.values())
    verbatim, fewer = [], []
    for interval in (2, 3, 5):
        full = -(-evaluations // interval)
        made = bench.latents(DeepCache(interval=interval, forecast="verbatim"))
        verbatim.append((evaluations / (full + (evaluations - full) * reuse), median_psnr(bench.reference, made)))
        few = max(1, steps // interval)
        fewer.append((steps / few, median_psnr(bench.reference, bench.latents(LOSSLESS, steps=few))))
    return verbatim, fewer
