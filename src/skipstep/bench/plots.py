"""Two pictures of a benchmark: what each technique adds, and speed against quality."""

from __future__ import annotations

from typing import Any

from ..engine.figures import png_and_svg
from ..errors import MissingExtraError

GREY, BLUE, YELLOW, RED = "#9aa5b1", "#1f6feb", "#d29922", "#cf222e"


def plot_waterfall(data: dict[str, Any]) -> tuple[bytes, bytes]:
    """Ratios of all rows as bars, each with what it adds to the one before, as PNG and SVG.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    rows = [row for row in data["rows"] if "skipped" not in row]
    figure = _figure(8.5, 0.5 * len(rows) + 1.6)
    axes = figure.add_subplot()
    before = 0.0
    for place, row in enumerate(rows):
        ratio, ceiling = row["ratio"], row["flop_ceiling"] or 0.0
        if _is_stacked(row):
            below = min(before, ratio)
            axes.barh(place, below, color=GREY)
            axes.barh(place, ratio - below, left=below, color=BLUE if place else GREY)
            before = ratio
        else:
            axes.barh(place, ratio, color=YELLOW)
        if ceiling > 1:
            axes.plot([ceiling] * 2, [place - 0.4, place + 0.4], color=RED, linewidth=1)
        axes.text(max(ratio, ceiling), place, f"  {ratio:.2f}{_quality(row)}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(max(row["ratio"], row["flop_ceiling"] or 0) for row in rows))
    axes.set_xlabel(
        "times as fast as the first row\nblue: gained over the row above; yellow: other ways\n"
        "red: FLOP ceiling of reuse alone"
    )
    axes.set_title(f"{data['title']}, {data['case']['steps']} steps", parse_math=False)
    return png_and_svg(figure)


def plot_pareto(data: dict[str, Any]) -> tuple[bytes, bytes] | None:
    """Speed against latent PSNR of the rows whose pictures differ; None if there are none.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    rows = [row for row in data["rows"] if "skipped" not in row and row["latent_psnr_db"] is not None]
    rows = [row for row in rows if row["latent_psnr_db"] < 90]
    if data["case"]["random_weights"] or not rows:
        return None
    figure = _figure(8.5, 5.5)
    axes = figure.add_subplot()
    for row in rows:
        axes.scatter(row["ratio"], row["latent_psnr_db"], color=BLUE if _is_stacked(row) else YELLOW, s=36)
        axes.annotate(
            row["name"],
            (row["ratio"], row["latent_psnr_db"]),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=9,
            parse_math=False,
        )
    axes.margins(x=0.25, y=0.1)
    axes.set_xlabel("times as fast as the first row")
    axes.set_ylabel("latent PSNR to the first row's pictures, dB (worst)")
    axes.set_title(f"{data['title']}, {data['case']['steps']} steps", parse_math=False)
    axes.grid(alpha=0.3)
    return png_and_svg(figure)


def _is_stacked(row: dict[str, Any]) -> bool:
    """Whether it adds to the row above: it is ours, and takes all steps."""
    return row["peer"] is None and row["options"]["steps"] is None


def _quality(row: dict[str, Any]) -> str:
    value = row["latent_psnr_db"]
    return "" if value is None else f", {value:.0f} dB"


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plots need matplotlib: pip install 'skipstep[plot]'") from error
    return Figure(figsize=(width, height), dpi=120, layout="constrained")
