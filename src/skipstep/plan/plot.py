"""Draws speed against quality for every schedule that a plan's search has run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import MissingExtraError
from .verification import Points


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """What is drawn; all on the search prompts."""

    title: str
    trials: Points
    chosen: tuple[float, float]
    verbatim: Points
    fewer_steps: Points
    work: str = "UNet FLOPs"  # what speed-ups are by


def frontier_figure(frontier: Frontier) -> Any:
    """The plot as a matplotlib figure of 960 x 600 pixels.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the plot needs matplotlib: pip install 'skipstep[plot]'") from error
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*_columns(frontier.trials), s=14, color="#9aa5b1", label="schedules that were run")
    axes.plot(*_columns(pareto(frontier.trials)), color="#1f6feb", marker="o", markersize=4, label="best of them")
    axes.plot(*_columns(frontier.fewer_steps), color="#d29922", marker="s", markersize=4, label="fewer steps, uncached")
    axes.plot(*_columns(frontier.verbatim), color="#cf222e", marker="^", markersize=4, label="verbatim reuse, uniform")
    axes.scatter(
        *_columns([frontier.chosen]), s=120, facecolors="none", edgecolors="#1a7f37", linewidths=2, label="plan"
    )
    axes.set_xlabel(f"speed-up by {frontier.work}")
    axes.set_ylabel("median latent PSNR to the uncached run, dB")
    axes.set_title(frontier.title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def pareto(points: Points) -> list[tuple[float, float]]:
    """The points that no other beats in both speed and quality, by speed."""
    kept: list[tuple[float, float]] = []
    for speed, psnr in sorted(points, reverse=True):
        if not kept or psnr > kept[-1][1]:
            kept.append((speed, psnr))
    return kept[::-1]


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [speed for speed, _ in points], [psnr for _, psnr in points]
