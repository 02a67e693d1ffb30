"""Clips as WebP and GIF animations, through Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

_DESCRIPTION = 0x010E  # EXIF's ImageDescription
_SAMPLES = 2**14  # pixels that a palette is made from


def write_webp(path: Path, frames: Sequence[Image.Image], *, fps: float, comment: str) -> None:
    """An endless WebP animation, lossless. Equal neighbours become one frame that is shown for longer."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = comment
    first, *others = (frame.convert("RGB") for frame in frames)
    first.save(
        path,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=delays(len(frames), fps, unit_ms=1),
        loop=0,
        lossless=True,
        quality=30,  # of the search for a small file, as is the method
        method=2,
        exif=exif,
    )


def write_gif(path: Path, frames: Sequence[Image.Image], *, fps: float, comment: str) -> None:
    """An endless GIF with one palette for the clip, so that still parts do not flicker, and dithering.

    GIF counts in hundredths of a second: each frame ends at the one nearest to its time, so that frames differ by one
    at most and the clip's length is right. Equal neighbours become one frame that is shown for longer.
    """
    pictures = [frame.convert("RGB") for frame in frames]
    palette = _palette(pictures)
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures)
    first.save(
        path,
        "GIF",
        save_all=True,
        append_images=others,
        duration=delays(len(frames), fps, unit_ms=10),
        loop=0,
        optimize=False,
        comment=comment.encode("ascii"),
    )


def read_animation_comment(path: Path) -> str | None:
    """The comment of a WebP or GIF file, if it has one.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    with Image.open(path, formats=("WEBP", "GIF")) as image:
        if image.format == "GIF":
            comment = image.info.get("comment")
            return None if comment is None else comment.decode("utf-8", "replace")
        text = image.getexif().get(_DESCRIPTION)
        return text if isinstance(text, str) else None


def delays(count: int, fps: float, *, unit_ms: int) -> list[int]:
    """Milliseconds that each frame is shown, in whole units, without drift."""
    ends = [round(frame * 1000 / fps / unit_ms) * unit_ms for frame in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """256 colours for all of them: spread over the colours of some pixels, then moved to where most of them are."""
    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in pictures])
    if len(pixels) > _SAMPLES:
        pixels = pixels[np.random.default_rng(0).integers(len(pixels), size=_SAMPLES)]
    settled = _SAMPLES // 100  # pixels that change their colour in a round of k-means
    return Image.fromarray(pixels[None]).quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=settled)
