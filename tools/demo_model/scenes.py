"""Pictures with exact captions: one or two sprites on a coloured background, drawn from a seeded generator."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .sprites import ICONS, load_sprites

OBJECTS = tuple(ICONS)
COLOURS = {
    "red": (220, 60, 60),
    "orange": (240, 150, 60),
    "yellow": (245, 220, 90),
    "green": (90, 185, 100),
    "blue": (70, 130, 225),
    "purple": (150, 95, 205),
    "pink": (245, 165, 195),
    "white": (245, 245, 245),
}
# what a person may say of the object itself; it changes the caption, never the picture
ADJECTIVES = {
    "cat": "yellow",
    "fox": "orange",
    "panda": "white",
    "frog": "green",
    "pig": "pink",
    "lion": "orange",
    "fish": "yellow",
    "turtle": "green",
    "apple": "red",
    "banana": "yellow",
    "strawberry": "red",
    "tree": "green",
    "cactus": "green",
    "sunflower": "yellow",
    "car": "red",
    "balloon": "red",
}
ONE = ("a {a} on a {c} background", "{a}, {c} background", "a picture of a {a} on {c}", "a {a} in front of a {c} wall")
ONE_PLAIN = ("a {a}", "{a}", "a picture of a {a}")
TWO = (
    "a {a} and a {b} on a {c} background",
    "{a} and {b}, {c} background",
    "a picture of a {a} next to a {b} on {c}",
)
TWO_PLAIN = ("a {a} and a {b}", "a picture of a {a} next to a {b}")
SIZES = ((96, 96), (96, 128), (128, 96), (128, 160), (160, 128), (160, 160))  # (width, height) beside 128 x 128


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture and what is on it; `second` is None for a single object."""

    image: Image.Image
    caption: str
    first: str
    second: str | None
    colour: str


def background(colour: str, width: int, height: int) -> Image.Image:
    """The gradient of a named colour."""
    return gradient(COLOURS[colour], width, height)


def gradient(colour: tuple[float, float, float], width: int, height: int) -> Image.Image:
    """A vertical gradient from a lighter tint down to the colour, whose parts are 0..255."""
    base = np.array(colour, np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    rows = (base + (255 - base) * 0.35) * (1 - down) + base * down
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).clip(0, 255).astype(np.uint8))


def paste(canvas: Image.Image, name: str, *, x: float, y: float, side: float) -> None:
    """Draw the sprite `name`, centred at (x, y) and `side` pixels wide, into `canvas`."""
    pixels = max(8, round(side))
    sprite = load_sprites()[name].resize((pixels, pixels), Image.Resampling.BILINEAR)
    canvas.paste(sprite, (round(x - pixels / 2), round(y - pixels / 2)), sprite)


def draw_scene(rng: random.Random, *, width: int = 128, height: int = 128, pairs: float = 0.3) -> Scene:
    """A random scene; with probability `pairs` it shows two different objects side by side."""
    colour = rng.choice(tuple(COLOURS))
    canvas = background(colour, width, height)
    first, second = rng.sample(OBJECTS, 2)
    unit = min(width, height)
    plain = rng.random() < 0.2
    if rng.random() < pairs:
        for name, centre in ((first, 0.27), (second, 0.73)):
            x = width * centre + unit * rng.uniform(-0.03, 0.03)
            y = height / 2 + unit * rng.uniform(-0.08, 0.08)
            paste(canvas, name, x=x, y=y, side=min(unit, width * 0.94) * rng.uniform(0.40, 0.48))
        caption = rng.choice(TWO_PLAIN if plain else TWO).format(
            a=_called(first, rng), b=_called(second, rng), c=colour
        )
        return Scene(image=canvas, caption=caption, first=first, second=second, colour=colour)
    x, y = (extent / 2 + unit * rng.uniform(-0.09, 0.09) for extent in (width, height))
    paste(canvas, first, x=x, y=y, side=unit * rng.uniform(0.58, 0.80))
    caption = rng.choice(ONE_PLAIN if plain else ONE).format(a=_called(first, rng), c=colour)
    return Scene(image=canvas, caption=caption, first=first, second=None, colour=colour)


def _called(name: str, rng: random.Random) -> str:
    return f"{ADJECTIVES[name]} {name}" if name in ADJECTIVES and rng.random() < 0.25 else name


def to_tensor(image: Image.Image) -> Tensor:
    """(3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1)


def vocabulary() -> list[str]:
    """Every text the captions are made of, for finding the tokens the text encoders must know."""
    words = [*OBJECTS, *COLOURS, *ADJECTIVES.values()]
    return words + [t.format(a="", b="", c="") for t in (*ONE, *ONE_PLAIN, *TWO, *TWO_PLAIN)]
