"""A picture from a file, read with suspicion, and fitted to a size."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import IgnoredInputWarning, OptionError
from .colours import as_seen
from .picture_guard import check_structure

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
MAX_SIDE = 16384
MAX_PIXELS = 64 * 2**20  # 8192 x 8192
MAX_BYTES = 128 * 2**20
_GIVE = "give the name of a PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF file"
# what Pillow's readers raise at damaged files
DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError,
    RuntimeError, MemoryError, EOFError, struct.error, zlib.error,
)  # fmt: skip


def read_picture(path: Path) -> Image.Image:
    """The picture in a file as RGB, as a person would see it: see `colours.as_seen`.

    Of an animation or several pages the first is taken, with a warning. Nothing is decoded before the size in the
    header is found to be within `MAX_SIDE` and `MAX_PIXELS`.

    Raises:
        OptionError: if there is no such file, or it cannot be read, is damaged, too large or no picture.
    """
    _check_file(path)
    with path.open("rb") as file:
        return _read(file, str(path))


def decode_picture(data: bytes, *, name: str = "the picture") -> Image.Image:
    """The same from a file's content, of which the messages speak as `name`.

    Raises:
        OptionError: as `read_picture`.
    """
    if not data:
        raise OptionError(f"{name} is empty; {_GIVE}")
    if len(data) > MAX_BYTES:
        raise OptionError(_too_many_bytes(name, len(data)))
    return _read(io.BytesIO(data), name)


def _read(file: BinaryIO, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on what it mends; ours comes below
            check_structure(file)
            with Image.open(file, formats=FORMATS) as image:
                _check_size(name, image.size)
                several = _holds_several(image)
                image.load()
                picture = as_seen(image)
    except UnidentifiedImageError as error:
        raise OptionError(f"{name} is not a picture that can be read; {_GIVE}") from error
    except Image.DecompressionBombError as error:
        raise OptionError(f"{name} has more pixels than can be read; {_limits()}") from error
    except OptionError:
        raise
    except DAMAGED as error:
        raise OptionError(
            f"{name} cannot be decoded: it is damaged, cut off or of an unusual kind; save it again as PNG or JPEG"
        ) from error
    if several:
        warnings.warn(f"{name} holds more than one picture; the first is used", IgnoredInputWarning, stacklevel=3)
    return picture


def fit_picture(image: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at exactly this size: scaled to cover it, enlarged if need be, and cut at the middle."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
        regular = stat.S_ISREG(status.st_mode)
        if regular:
            path.open("rb").close()
    except FileNotFoundError as error:
        raise OptionError(f"{path} does not exist; {_GIVE}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise OptionError(f"cannot read {path}: {reason}; {_GIVE}") from error
    if stat.S_ISDIR(status.st_mode):
        raise OptionError(f"{path} is a folder; {_GIVE}")
    if not regular:
        raise OptionError(f"{path} is a pipe or a device; save the picture in a file and {_GIVE}")
    if status.st_size == 0:
        raise OptionError(f"{path} is empty; {_GIVE}")
    if status.st_size > MAX_BYTES:
        raise OptionError(_too_many_bytes(str(path), status.st_size))


def _too_many_bytes(name: str, size: int) -> str:
    return f"{name} has {size / 2**20:.0f} MiB, at most {MAX_BYTES / 2**20:.0f} are read; make it smaller"


def _check_size(name: str, size: tuple[int, int]) -> None:
    width, height = size
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise OptionError(f"{name} is {width} x {height} pixels; {_limits()}")


def _limits() -> str:
    return f"make it smaller: sides of at most {MAX_SIDE} and {MAX_PIXELS / 2**20:.0f} megapixels in all"


def _holds_several(image: Image.Image) -> bool:
    """An animation or pages; not the second view or gain map that cameras add to a JPEG."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except DAMAGED:
        return False  # the first is asked for, and it may be whole
