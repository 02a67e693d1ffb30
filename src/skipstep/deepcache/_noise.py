"""The noise levels of a sampler's evaluations, read once when a run begins."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch

LOWEST = 1e-6


def log_sigmas(scheduler: Any) -> tuple[float, ...] | None:
    """Natural logarithms of noise over signal, one per evaluation of a diffusers scheduler whose steps are set.

    They are the scheduler's own sigmas where it has them, else they follow from its cumulative alphas. None where it
    has neither, or says something else than one noise level per evaluation.
    """
    timesteps = getattr(scheduler, "timesteps", None)
    if not isinstance(timesteps, torch.Tensor) or timesteps.ndim != 1:
        return None
    sigmas = getattr(scheduler, "sigmas", None)
    if isinstance(sigmas, torch.Tensor) and sigmas.ndim == 1 and len(sigmas) >= len(timesteps):
        levels = [float(sigma) for sigma in sigmas[: len(timesteps)].tolist()]
        if _has_points_between(levels, timesteps.tolist()):
            return None
    else:
        alphas = getattr(scheduler, "alphas_cumprod", None)
        if not isinstance(alphas, torch.Tensor):
            return None
        places = timesteps.cpu().double().round().long().clamp(0, len(alphas) - 1)
        kept = alphas.cpu().double()[places]
        levels = ((1 - kept) / kept.clamp_min(1e-12)).sqrt().tolist()
    if not all(math.isfinite(level) for level in levels):
        return None
    return tuple(math.log(max(level, LOWEST)) for level in levels)


def _has_points_between(levels: list[float], timesteps: list[float]) -> bool:
    """Whether evaluations lie at noise levels that are not listed: those of DPM-2, between two that are."""
    pairs = list(zip(levels, timesteps, strict=True))
    return any(one[0] == two[0] and one[1] != two[1] for one, two in pairwise(pairs))


class NoiseLevels:
    """Tells a UNet call's noise level from its timestep, without asking the device."""

    def __init__(self, scheduler: Any) -> None:
        self.levels = log_sigmas(scheduler)
        self._timesteps = getattr(scheduler, "timesteps", None)

    def at(self, timestep: Any, step_index: int | None) -> float | None:
        """The log sigma of a call with `timestep`, which is an element of the scheduler's own list."""
        levels = self.of_run(1, timestep, step_index)
        return None if levels is None else levels[0]

    def of_run(self, evaluations: int, timestep: Any, step_index: int | None) -> tuple[float, ...] | None:
        """The log sigmas of a run that begins with such a call: img2img begins late, others end early."""
        first = self._index(timestep)
        if first is None:
            first = step_index
        if self.levels is None or first is None or not 0 <= first <= len(self.levels) - evaluations:
            return None
        return self.levels[first : first + evaluations]

    def _index(self, timestep: Any) -> int | None:
        """Where in the memory of the scheduler's list the timestep lies; None if it is a tensor of its own."""
        listed = self._timesteps
        if not isinstance(timestep, torch.Tensor) or listed is None or timestep.dtype != listed.dtype:
            return None
        if timestep.untyped_storage().data_ptr() != listed.untyped_storage().data_ptr():
            return None
        return int(timestep.data_ptr() - listed.data_ptr()) // int(listed.element_size())
