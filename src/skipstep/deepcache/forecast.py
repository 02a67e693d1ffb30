"""What the deep features are taken to be at an evaluation that does not compute them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from ..errors import OptionError
from .history import INDEX, LOG_SIGMA, FeatureHistory, Position


class Forecast(Protocol):
    """Deep features at an evaluation, from those of earlier full passes."""

    @property
    def history_size(self) -> int:
        """How many full passes must be remembered, 1 or more."""
        ...

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """The features at `at`; `history` holds at least one entry and must not be written to.

        May return a stored tensor itself: who uses the result in place must clone it.
        """
        ...


@dataclass(frozen=True, slots=True)
class VerbatimForecast:
    """The latest features as they are: DeepCache (Ma et al. 2023, arXiv:2312.00858)."""

    history_size: int = 1

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """The features of the latest full pass."""
        return history[-1][1]


def _gaps(positions: Sequence[Position], coordinate: str) -> list[float]:
    """How far each position is from the one before; in evaluations where the coordinate does not tell them apart."""
    places = [place for position in positions if (place := position.along(coordinate)) is not None]
    gaps = [later - place for place, later in pairwise(places)]
    if len(places) < len(positions) or min(gaps[:-1]) <= 0 or gaps[-1] < 0:
        return [float(later.evaluation - position.evaluation) for position, later in pairwise(positions)]
    return gaps


@dataclass(frozen=True, slots=True)
class LinearForecast:
    """The straight line through the latest two: TaylorSeer at order 1 (arXiv:2503.06923).

    `coordinate` is "evaluation" (its index) or "log_sigma" (then, where a sampler does not tell its noise levels or
    repeats one, the index). It goes no farther than the two were apart, so that the slope between neighbours is not
    drawn out over a wide gap. With a single full pass behind it, it is verbatim.

    Raises:
        OptionError: if the coordinate is another.
    """

    coordinate: str = INDEX
    history_size: int = 2

    def __post_init__(self) -> None:
        check_coordinate(self.coordinate)

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """F_last + (F_last - F_previous) * r, where r = (at - last) / (last - previous), and at most 1."""
        last_at, last = history[-1]
        if len(history) < 2:
            return last
        previous_at, previous = history[-2]
        return extrapolate(previous, last, linear_reach(previous_at, last_at, at, self.coordinate))


@dataclass(frozen=True, slots=True)
class QuadraticForecast:
    """The parabola through the latest three, its curvature damped: TaylorSeer at order 2 (arXiv:2503.06923).

    `damping` scales the curvature: 1 is the whole parabola, which overshoots where gaps are wide (docs/forecast.md), 0
    the straight line. Reach and coordinate are those of `LinearForecast`, which it is behind fewer than three passes.
    Computed in float32 whatever the type of the features.

    Raises:
        OptionError: if the coordinate is another, or the damping is outside 0..1.
    """

    coordinate: str = INDEX
    damping: float = 0.5
    history_size: int = 3

    def __post_init__(self) -> None:
        check_coordinate(self.coordinate)
        if not 0 <= self.damping <= 1:
            raise OptionError(f"damping must be 0..1, got {self.damping}; 0.5 is usual")

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """Newton's form on the divided differences of the three."""
        if len(history) < 3:
            return LinearForecast(self.coordinate).predict(history, at)
        (first_at, first), (middle_at, middle), (last_at, last) = history
        before, second, step = _gaps((first_at, middle_at, last_at, at), self.coordinate)
        step = min(step, second)
        ahead = step / second
        bend = self.damping * step * (step + second) / (before + second)  # times the second difference
        weight_last = 1 + ahead + bend / second
        weight_middle = -ahead - bend * (1 / second + 1 / before)
        if weight_last == 1:
            return last
        # the weights add up to 1, so that two kernels do
        earlier = torch.lerp(first.float(), middle.float(), weight_middle / (1 - weight_last))
        return torch.lerp(earlier, last.float(), weight_last).to(last.dtype)


def linear_reach(previous: Position, last: Position, at: Position, coordinate: str = INDEX) -> float:
    """r of the straight line: how far ahead in units of the gap before, and at most 1."""
    gap, ahead = _gaps((previous, last, at), coordinate)
    return straight_reach(gap, ahead)


def straight_reach(gap: float, ahead: float) -> float:
    """r at `ahead` behind the last of two full passes that are `gap` apart."""
    return min(ahead / gap, 1.0)


def extrapolate(previous: Tensor, last: Tensor, reach: float) -> Tensor:
    """F_last + reach * (F_last - F_previous) in one kernel, which computes in float32 for half types."""
    return torch.lerp(previous, last, 1 + reach)


def check_coordinate(name: str) -> None:
    """Refuse a coordinate that is not known.

    Raises:
        OptionError: naming those that are.
    """
    if name not in (INDEX, LOG_SIGMA):
        raise OptionError(f"coordinate must be {INDEX} or {LOG_SIGMA}, got {name!r}")
