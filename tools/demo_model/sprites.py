"""The sprite sheet: Noto Emoji drawings, rendered from the npm package `@iconify-json/noto`.

The drawings are Google's Noto Emoji under the Apache License 2.0 (the package's `info.json` states it).
The finished sheet is committed beside this file, so that neither npm nor an SVG renderer is needed later.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from PIL import Image

PACKAGE = "@iconify-json/noto@1.2.9"
SIDE = 128  # pixels of one square sprite
COLUMNS = 6
SHEET = Path(__file__).parent / "sprites.png"

ICONS = {
    "cat": "cat-face",
    "dog": "dog-face",
    "fox": "fox",
    "panda": "panda",
    "frog": "frog",
    "pig": "pig-face",
    "lion": "lion",
    "penguin": "penguin",
    "fish": "tropical-fish",
    "octopus": "octopus",
    "butterfly": "butterfly",
    "turtle": "turtle",
    "apple": "red-apple",
    "banana": "banana",
    "strawberry": "strawberry",
    "tree": "evergreen-tree",
    "cactus": "cactus",
    "sunflower": "sunflower",
    "mushroom": "mushroom",
    "pizza": "pizza",
    "car": "automobile",
    "rocket": "rocket",
    "house": "house",
    "balloon": "balloon",
}


def render_sheet(path: Path = SHEET) -> None:
    """Download the icon package with `npm pack` and write the sheet; needs npm and PyPI's `resvg-py`."""
    import resvg_py

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=folder, check=True)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            member = archive.extractfile("package/icons.json")
            assert member is not None
            icons = json.load(member)
    rows = -(-len(ICONS) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SIDE, rows * SIDE))
    for index, icon in enumerate(ICONS.values()):
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {icons["width"]} {icons["height"]}">{icons["icons"][icon]["body"]}</svg>'
        )
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE, height=2 * SIDE))
        sheet.paste(_square(Image.open(io.BytesIO(png)).convert("RGBA")), _corner(index))
    sheet.save(path, optimize=True)


def _square(drawing: Image.Image) -> Image.Image:
    """The drawing cropped to its ink and centred in a square of `SIDE` pixels."""
    box = drawing.getbbox()
    assert box is not None, "the icon is empty"
    ink = drawing.crop(box)
    side = max(ink.size)
    square = Image.new("RGBA", (side, side))
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _corner(index: int) -> tuple[int, int]:
    return (index % COLUMNS) * SIDE, (index // COLUMNS) * SIDE


@cache
def load_sprites(path: Path = SHEET) -> dict[str, Image.Image]:
    """Object name to its RGBA sprite, `SIDE` pixels square."""
    sheet = Image.open(path).convert("RGBA")
    sprites = {}
    for index, name in enumerate(ICONS):
        left, top = _corner(index)
        sprites[name] = sheet.crop((left, top, left + SIDE, top + SIDE))
    return sprites


def sheet_hash() -> str:
    """SHA-256 of the sheet's pixels, recorded with the weights."""
    return hashlib.sha256(Image.open(SHEET).convert("RGBA").tobytes()).hexdigest()
