"""Where the slopes of the calibrated forecast are kept between runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .calibrated import Slopes, SlopeTable
from .responses import Responses


@dataclass(frozen=True, slots=True)
class RunShape:
    """What slopes depend on besides the model: the branch and the noise levels of the evaluations.

    Samplers that visit the same noise levels (Euler and DPM++ 2M, say) share one calibration; `sampler` tells runs
    apart only where noise levels are not known.
    """

    branch: int
    evaluations: int
    log_sigmas: tuple[float, ...] | None
    sampler: str | None

    @classmethod
    def of(cls, branch: int, evaluations: int, log_sigmas: tuple[float, ...] | None, sampler: str) -> RunShape:
        """The shape of a run whose evaluations have these noise levels."""
        if log_sigmas is None:
            return cls(branch, evaluations, None, sampler)
        return cls(branch, evaluations, tuple(round(level, 3) for level in log_sigmas), None)


class Calibrations(Protocol):
    """Keeps slopes. `window` is how many past features an uncached run tries at each evaluation."""

    window: int

    def get(self, shape: RunShape) -> Slopes | None:
        """What was kept for this shape of run."""
        ...

    def put(self, shape: RunShape, responses: Responses) -> None:
        """Keep what an uncached run measured."""
        ...


class CalibrationMemory:
    """Keeps slopes as long as it lives."""

    window = 12

    def __init__(self) -> None:
        self._kept: dict[RunShape, SlopeTable] = {}

    def get(self, shape: RunShape) -> SlopeTable | None:
        """What was kept for this shape of run."""
        return self._kept.get(shape)

    def put(self, shape: RunShape, responses: Responses) -> None:
        """Keep the slopes of what an uncached run measured."""
        self._kept[shape] = responses.slope_table()
