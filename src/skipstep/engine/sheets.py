"""Two pictures, or two clips, and their difference side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

PANEL = 256  # smallest side of a panel in a comparison, pixels
CAPTION = 22


def side_by_side(reference: Image.Image, image: Image.Image, captions: tuple[str, str]) -> Image.Image:
    """Reference, picture and their difference, amplified so that the largest is white; small ones are enlarged."""
    gap = _gap(reference, image)
    return _sheet(reference, image, gap, captions, largest=float(gap.max()))


def side_by_side_frames(
    reference: Sequence[Image.Image], frames: Sequence[Image.Image], captions: tuple[str, str]
) -> list[Image.Image]:
    """`side_by_side` for each frame, all with the gain that makes the clip's largest difference white.

    Sides are even, as video codecs want them: a row or column of white is added where they are not.
    """
    gaps = [_gap(one, other) for one, other in zip(reference, frames, strict=True)]
    largest = max(float(gap.max()) for gap in gaps)
    sheets = [
        _sheet(one, other, gap, captions, largest=largest)
        for one, other, gap in zip(reference, frames, gaps, strict=True)
    ]
    return [_even(sheet) for sheet in sheets]


def _gap(reference: Image.Image, image: Image.Image) -> npt.NDArray[np.float32]:
    one, other = (np.asarray(picture.convert("RGB"), np.float32) for picture in (reference, image))
    gap: npt.NDArray[np.float32] = np.abs(one - other).mean(axis=2)
    return gap


def _sheet(
    reference: Image.Image,
    image: Image.Image,
    gap: npt.NDArray[np.float32],
    captions: tuple[str, str],
    *,
    largest: float,
) -> Image.Image:
    gain = 255 / largest if largest else 1.0
    difference = Image.fromarray((gap * gain).astype(np.uint8)).convert("RGB")
    note = f"difference x{gain:.{1 if gain < 10 else 0}f}" if largest else "no difference"
    scale = max(1, -(-PANEL // min(reference.size)))
    width, height = reference.width * scale, reference.height * scale
    sheet = Image.new("RGB", (3 * width, height + CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    panels = ((reference, captions[0]), (image, captions[1]), (difference, note))
    for index, (panel, caption) in enumerate(panels):
        sheet.paste(panel.convert("RGB").resize((width, height), Image.Resampling.NEAREST), (index * width, CAPTION))
        draw.text((index * width + 4, 3), caption, fill="black", font=font)
    return sheet


def _even(sheet: Image.Image) -> Image.Image:
    width, height = sheet.width + sheet.width % 2, sheet.height + sheet.height % 2
    if (width, height) == sheet.size:
        return sheet
    larger = Image.new("RGB", (width, height), "white")
    larger.paste(sheet)
    return larger
