"""The pictures that clips for plans and tables start from."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

from PIL import Image

from ..errors import OptionError
from .image import ImageEngine
from .models import load_model
from .picture import read_picture
from .prompts import demo_prompts
from .request import ImageRequest
from .video_bench import Start

MOTIONS = (127, 60, 200)  # motion buckets, in turns
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def demo_starts(count: int) -> list[Start]:
    """Pictures of the demo prompts, drawn by the demo SDXL."""
    engine = ImageEngine(load_model())
    return _starts(
        (prompt, engine.generate(ImageRequest(prompt=prompt, seed=seed)).image)
        for seed, prompt in enumerate(demo_prompts()[:count])
    )


def read_starts(folder: Path, count: int | None = None) -> list[Start]:
    """The pictures of a folder, by name.

    Raises:
        OptionError: if it is no folder, holds no picture, or one cannot be read.
    """
    if not folder.is_dir():
        raise OptionError(f"images must be a folder of pictures, got {folder}")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise OptionError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return _starts([(file.name, read_picture(file)) for file in files[:count]])


def _starts(pictures: Iterable[tuple[str, Image.Image]]) -> list[Start]:
    return [
        Start(name=f"{name}, motion {motion}", picture=picture, motion=motion)
        for (name, picture), motion in zip(pictures, cycle(MOTIONS), strict=False)
    ]
