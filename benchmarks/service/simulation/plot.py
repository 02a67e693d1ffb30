"""Seconds of a picture against load, for several sizes of the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skipstep.errors import MissingExtraError

from .report import Figures


def plot(path: Path, curves: Mapping[int, Sequence[tuple[float, Figures]]], *, source: str) -> None:
    """Draw p95 (lines) and the median (dashed) by the share of the GPUs' most.

    Raises:
        MissingExtraError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError('a plot needs matplotlib: pip install "skipstep[plot]"') from error
    drawing = Figure(figsize=(7, 4), layout="constrained")
    axes = drawing.subplots()
    for size, points in curves.items():
        loads = [load for load, _ in points]
        (line,) = axes.plot(loads, [one.p95_s for _, one in points], marker="o", label=f"{size:,} GPUs")
        axes.plot(loads, [one.median_s for _, one in points], linestyle="--", color=line.get_color())
    axes.set(xlabel="jobs, as a share of what full batches could do", ylabel="seconds: p95, and the median dashed")
    axes.set_yscale("log")
    axes.set_title(f"simulated; {source}", fontsize=8)
    axes.grid(alpha=0.3)
    axes.legend()
    drawing.savefig(path, dpi=90)
