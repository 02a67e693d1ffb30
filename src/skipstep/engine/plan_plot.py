"""The plot of a plan's search, as files."""

from __future__ import annotations

from ..plan.plot import Frontier, frontier_figure, pareto
from .figures import png_and_svg

__all__ = ["Frontier", "pareto", "plot_frontier"]


def plot_frontier(frontier: Frontier) -> tuple[bytes, bytes]:
    """The plot as PNG and as SVG.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    return png_and_svg(frontier_figure(frontier))
