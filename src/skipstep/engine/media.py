"""Pictures on disk: whole or not at all, and saying how they were made."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, PngImagePlugin

from ..errors import OptionError, OutputError
from ..whole import write_whole
from .sheets import CAPTION, PANEL, side_by_side

__all__ = ["CAPTION", "PANEL", "check_output", "png_bytes", "side_by_side", "write_whole"]


def check_output(path: Path) -> None:
    """Refuse a place that cannot be written to, before any work is done.

    Raises:
        OptionError: if the name does not end in .png.
        OutputError: if the folder is missing or not writable, or `path` is a folder.
    """
    if path.suffix.lower() != ".png":
        raise OptionError(f"the output must end in .png, got {path}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file")
    write_whole(path, None)


def png_bytes(image: Image.Image, texts: dict[str, str]) -> bytes:
    """The picture as PNG with `texts` in it."""
    information = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        information.add_itxt(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()
