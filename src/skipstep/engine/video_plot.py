"""Draws how close a cached clip stays to the uncached one, frame by frame."""

from __future__ import annotations

import math

from ..errors import MissingExtraError
from .figures import png_and_svg
from .video_compare import VideoComparison


def plot_frames(result: VideoComparison, title: str) -> tuple[bytes, bytes]:
    """PSNR, SSIM and flicker over frames, as PNG and as SVG; equal frames have no PSNR and leave a gap.

    Raises:
        MissingExtraError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtraError("the plot needs matplotlib: pip install 'skipstep[plot]'") from error
    figure = Figure(figsize=(8, 6.5), dpi=120, layout="constrained")
    upper, middle, lower = figure.subplots(3, sharex=True)
    frames = range(1, len(result.psnr) + 1)
    upper.plot(frames, [value if math.isfinite(value) else math.nan for value in result.psnr], "o-", color="#1f6feb")
    upper.set_ylabel("PSNR, dB")
    middle.plot(frames, result.ssim, "o-", color="#1a7f37")
    middle.set_ylabel("SSIM")
    lower.plot(frames[1:], result.flicker, "o-", color="#cf222e")
    lower.set_ylabel("flicker error,\nlevels of 255")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("frame")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (upper, middle, lower):
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    return png_and_svg(figure)
