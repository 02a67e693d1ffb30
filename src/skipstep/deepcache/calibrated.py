"""A straight-line forecast whose slopes were fitted on the model's own runs."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from .forecast import Forecast, LinearForecast, extrapolate, linear_reach
from .history import FeatureHistory, Position

MAX_REACH = 2.0  # times the straight line's; a fit beyond that follows noise
SAME = 1e-4  # log sigmas closer than this are one


class Slopes(Protocol):
    """Fitted slopes: how far to go along the line through the latest two."""

    def reach(self, previous: Position, last: Position, at: Position) -> float | None:
        """r in F_last + r * (F_last - F_previous); None where nothing was fitted for these three."""
        ...


@dataclass(frozen=True, slots=True)
class CalibratedForecast:
    """F_last + r * (F_last - F_previous), with r fitted by least squares for each evaluation (docs/forecast.md).

    Where nothing was fitted (a gap wider than any that was observed, noise levels outside the calibrated range, a key
    that started late) it is `fallback`. One multiply-add on one tensor; two tensors are stored.
    """

    slopes: Slopes
    fallback: Forecast = field(default_factory=LinearForecast)
    history_size: int = 2

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """The features at `at`, or what the fallback says."""
        if len(history) < 2:
            return self.fallback.predict(history, at)
        previous_at, last_at = history.positions[-2:]
        reach = self.slopes.reach(previous_at, last_at, at)
        if reach is None:
            return self.fallback.predict(history, at)
        return extrapolate(history[-2][1], history[-1][1], reach)


@dataclass(frozen=True)
class PlannedSlopes:
    """Slopes of one exact schedule: {(branch, previous, last, evaluation): r}."""

    reaches: dict[tuple[int, int, int, int], float] = field(repr=False)

    def reach(self, previous: Position, last: Position, at: Position) -> float | None:
        """The slope of exactly these evaluations."""
        return self.reaches.get((at.branch, previous.evaluation, last.evaluation, at.evaluation))


@dataclass(frozen=True)
class SlopeTable:
    """Slopes for every pair of gaps up to a width, as factors on the straight line's own.

    `factors[(gap, ahead)][i]` belongs to a full pass at i - ahead, the one before it at i - ahead - gap, and a reuse
    pass at i; None where that is before the run's start. `log_sigmas` has one noise level per evaluation. A run with
    other noise levels (other steps, another sampler) is placed by interpolation in log-sigma. Where a sampler does not
    tell its noise levels it is empty, and evaluations are placed by their index.
    """

    branch: int
    log_sigmas: tuple[float, ...] = field(repr=False)
    factors: dict[tuple[int, int], tuple[float | None, ...]] = field(repr=False)
    _places: tuple[tuple[float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = sorted({-sigma: index for index, sigma in reversed(list(enumerate(self.log_sigmas)))}.items())
        object.__setattr__(self, "_places", tuple((at, float(index)) for at, index in places))

    def reach(self, previous: Position, last: Position, at: Position) -> float | None:
        """The straight line's reach times the factor interpolated between calibrated evaluations."""
        if at.branch != self.branch:
            return None
        places = [self._place(position) for position in (previous, last, at)]
        if any(place is None for place in places):
            return None
        first, second, third = (place for place in places if place is not None)
        factor = self._factor(second - first, third - second, third)
        return None if factor is None else factor * linear_reach(previous, last, at)

    def _place(self, position: Position) -> float | None:
        """The (fractional) calibrated evaluation that has this position's noise level."""
        exact = position.evaluation
        if not self.log_sigmas:
            return float(exact)
        if position.log_sigma is None:
            return None
        if exact < len(self.log_sigmas) and abs(self.log_sigmas[exact] - position.log_sigma) < SAME:
            return float(exact)  # the same sampler and steps; some visit a noise level twice
        at, first, last = -position.log_sigma, self._places[0][0], self._places[-1][0]
        if not first - SAME <= at <= last + SAME:
            return None
        index = bisect_left(self._places, (min(at, last), -1.0))
        (high, high_place) = self._places[index]
        (low, low_place) = self._places[max(index - 1, 0)]
        return (
            high_place if high == low else low_place + (high_place - low_place) * (min(at, last) - low) / (high - low)
        )

    def _factor(self, gap: float, ahead: float, at: float) -> float | None:
        """Multilinear interpolation over what was calibrated around the point."""
        if gap <= 0 or ahead <= 0:
            return None
        total = weights = 0.0
        for g, g_weight in _neighbours(max(gap, 1.0)):
            for a, a_weight in _neighbours(max(ahead, 1.0)):
                row = self.factors.get((g, a))
                if row is None:
                    return None
                for i, i_weight in _neighbours(at):
                    factor = row[i] if i < len(row) else None
                    if factor is not None:
                        weight = g_weight * a_weight * i_weight
                        total, weights = total + weight * factor, weights + weight
        return total / weights if weights > 0.5 else None


def _neighbours(value: float) -> list[tuple[int, float]]:
    """The whole numbers around a value and their weights."""
    low = int(value + 1e-6)
    share = value - low
    return [(low, 1.0)] if share < 1e-6 else [(low, 1 - share), (low + 1, share)]
