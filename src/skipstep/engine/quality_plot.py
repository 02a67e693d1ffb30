"""Where the rows of a comparison lie between speed and likeness: coordinates for an SVG plot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .bootstrap import Estimate
from .quality_rows import QualityResult, Row

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 16, 52  # room for the axes, and on the right for labels
LABEL, LINE, GAP = 140, 16, 11  # a label's width and height, and how far it is from its point
TICKS = 6


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row in the plot, in pixels; `top` and `bottom` are its interval, None where it has none within reach."""

    name: str
    is_candidate: bool
    x: float
    y: float
    top: float | None
    bottom: float | None
    label_x: float
    label_y: float
    anchor: str  # of the label, in SVG's words


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Everything to draw. Ticks are (pixel, text); links join a candidate and its fewer-steps row, in pixels."""

    points: tuple[Point, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    links: tuple[tuple[float, float, float, float], ...]
    left_out: tuple[str, ...]  # rows whose median is infinite


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float  # pixel of `low`
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        step = _round_step((self.high - self.low) / TICKS)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple((self.at(i * step), f"{i * step:g}") for i in range(first, last + 1))


def quality_plot(result: QualityResult) -> Plot | None:
    """FLOP ratio (x) against latent PSNR in dB (y), medians with their intervals; None if every row is identical."""
    shown: list[tuple[Row, Estimate]] = []
    for row in result.rows:
        estimate = row.estimate("latent_psnr")
        if estimate is not None and math.isfinite(estimate.median):
            shown.append((row, estimate))
    if not shown:
        return None
    x, y = _axes(shown)
    points = _with_labels_apart([_point(row, estimate, x, y) for row, estimate in shown])
    places = {point.name: point for point in points}
    links = tuple(
        (places[row.name].x, places[row.name].y, places[row.equal_cost].x, places[row.equal_cost].y)
        for row, _ in shown
        if row.equal_cost in places
    )
    left_out = tuple(row.name for row in result.rows if row.name not in places)
    return Plot(points=tuple(points), x_ticks=x.ticks(), y_ticks=y.ticks(), links=links, left_out=left_out)


def _axes(shown: list[tuple[Row, Estimate]]) -> tuple[_Axis, _Axis]:
    ratios = [row.flop_ratio for row, _ in shown]
    levels = [bound for _, estimate in shown for bound in (estimate.median, *(estimate.interval or ()))]
    levels = [level for level in levels if math.isfinite(level)]
    x = _Axis(1.0, max(*ratios, 1.0) * 1.05 + 0.05, LEFT, WIDTH - RIGHT)
    y = _Axis(math.floor(min(levels) - 1), math.ceil(max(levels) + 1), HEIGHT - BOTTOM, TOP)
    return x, y


def _point(row: Row, estimate: Estimate, x: _Axis, y: _Axis) -> Point:
    bounds = estimate.interval if estimate.interval and all(map(math.isfinite, estimate.interval)) else None
    level = y.at(estimate.median)
    place = x.at(row.flop_ratio)
    on_left = not row.is_candidate and place - LABEL > LEFT  # a row and its fewer steps are neighbours
    return Point(
        name=row.name,
        is_candidate=row.is_candidate,
        x=place,
        y=level,
        top=None if bounds is None else y.at(bounds[1]),
        bottom=None if bounds is None else y.at(bounds[0]),
        label_x=place - GAP if on_left else place + GAP,
        label_y=level,
        anchor="end" if on_left else "start",
    )


def _with_labels_apart(points: list[Point]) -> list[Point]:
    """The points with labels that would lie on each other moved down, in the order of their height."""
    placed: list[Point] = []
    for point in sorted(points, key=lambda one: one.y):
        label = point.label_y
        for other in placed:
            beside = other.anchor == point.anchor and abs(other.label_x - point.label_x) < LABEL
            if beside and label - other.label_y < LINE:
                label = other.label_y + LINE
        placed.append(replace(point, label_y=label))
    return placed


def _round_step(step: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
