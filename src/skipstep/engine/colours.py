"""Any picture's pixels as a person sees them: upright, in 8-bit sRGB, on white."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

_T = Image.Transpose
_UPRIGHT = {  # by EXIF orientation
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_270,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_90,
}
_ORIENTATION, _BITS, _PHOTOMETRIC = 0x0112, 0x0102, 0x0106
_PROFILE_OF = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # the colour space that a profile must be for


def as_seen(image: Image.Image) -> Image.Image:
    """A loaded picture as RGB: EXIF rotation undone, colours by its profile, transparent parts on white.

    16 bits are scaled to 8, not clipped. CMYK without a profile is converted by formula.

    Raises:
        ValueError: for pixels without a known range (32-bit integers, floats) or in L*a*b*.
    """
    turn = _UPRIGHT.get(_orientation(image.info.get("exif", b"")))  # a TIFF is upright: Pillow turns it
    colours, alpha = _split(image)
    seen = _to_srgb(colours, image.info.get("icc_profile"))
    if alpha is not None:
        page = Image.new("RGB", seen.size, "white")
        page.paste(seen, mask=alpha)
        seen = page
    seen = seen if turn is None else seen.transpose(turn)
    seen.info = {}
    return seen


def _orientation(exif: bytes) -> int:
    """From the first directory; 1 if damaged, as viewers do.

    Not Pillow's `getexif`, which copies the values of every entry: gigabytes if each claims to be the whole block.
    """
    block = exif.removeprefix(b"Exif\0\0")
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    at = int.from_bytes(block[4:8], order)
    entries = int.from_bytes(block[at : at + 2], order)
    for start in range(at + 2, min(at + 2 + 12 * entries, len(block)), 12):
        entry = block[start : start + 12]
        if int.from_bytes(entry[:2], order) == _ORIENTATION:
            return int.from_bytes(entry[8:10], order)
    return 1


def _split(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours as L, RGB or CMYK, and alpha as L where there is any."""
    if image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        raise ValueError(f"{image.mode} pixels have no known range")
    if image.mode == "CMYK":
        return image, None
    key = image.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:  # given in 16 bits, where Pillow keeps 8 of the pixels
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if key is None and "A" not in image.getbands() and "a" not in image.getbands():
        mode = "L" if image.mode in ("1", "L") else "RGB"
        return image if image.mode == mode else image.convert(mode), None
    gray = image.mode in ("1", "L", "LA", "La")
    full = image.convert("RGBA")
    return full.getchannel("R") if gray else full.convert("RGB"), full.getchannel("A")


def _from_16_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    largest = 4095 if tags.get(_BITS) == (12,) else 65535
    to_8_bits = np.minimum(np.rint(np.arange(65536) * (255 / largest)), 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        to_8_bits = 255 - to_8_bits
    values = np.asarray(image)
    gray = Image.fromarray(to_8_bits[values])
    key = image.info.get("transparency")
    return gray, None if key is None else Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))


def _to_srgb(colours: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB by the embedded profile; one that is damaged or for other colours is ignored, as browsers do."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            fits = source.profile.xcolor_space.strip() == _PROFILE_OF[colours.mode]
            if fits and not (source.profile.profile_description or "").startswith("sRGB"):
                converted = ImageCms.profileToProfile(
                    colours,
                    source,
                    ImageCms.createProfile("sRGB"),
                    renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                    outputMode="RGB",
                    flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
                )
                assert converted is not None  # not in place
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return colours if colours.mode == "RGB" else colours.convert("RGB")
