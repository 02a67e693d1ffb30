"""Clips whose motion follows from the first frame: each object moves in its own way, the motion bucket says how far."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .scenes import COLOURS, OBJECTS, gradient, to_tensor
from .sprites import SIDE as SPRITE
from .sprites import load_sprites

MOTIONS = {
    "hop": ("cat", "dog", "fox", "panda", "frog", "lion"),
    "glide": ("pig", "penguin", "fish", "turtle", "car"),
    "float": ("octopus", "butterfly", "rocket", "balloon"),
    "spin": ("apple", "banana", "strawberry", "pizza"),
    "sway": ("tree", "cactus", "sunflower", "mushroom"),
    "zoom": ("house",),
}
MOTION_OF = {name: motion for motion, names in MOTIONS.items() for name in names}
CALM, LIVELY = 10, 250  # motion buckets that are drawn
PERIOD = 2.0  # seconds: 14 frames at 7 a second


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a sprite is: an offset and a scale in units of its side, an angle in degrees, clockwise."""

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    scale: float = 1.0
    pivot: float = 0.0  # the point that a turn leaves in place, downwards from the centre


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """An object in a clip's first frame, in pixels."""

    name: str
    x: float
    y: float
    side: float


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a clip shows; the motion of each sprite is that of its object."""

    sprites: tuple[Sprite, ...]
    colour: tuple[float, float, float]
    bucket: int
    fps: int
    width: int
    height: int

    def frames(self, count: int) -> list[Image.Image]:
        """The first `count` frames."""
        still = gradient(self.colour, self.width, self.height).convert("RGBA")
        drawn = []
        for index in range(count):
            canvas = still.copy()
            for sprite in self.sprites:
                _draw(canvas, sprite, pose(MOTION_OF[sprite.name], index / self.fps, self.bucket))
            drawn.append(canvas.convert("RGB"))
        return drawn

    def tensor(self, count: int) -> Tensor:
        """(count, 3, height, width) in [-1, 1]."""
        return torch.stack([to_tensor(frame) for frame in self.frames(count)])


def pose(motion: str, seconds: float, bucket: int) -> Pose:
    """A motion `seconds` after the first frame, where every motion is at rest."""
    far = bucket / 127
    wave = math.sin(2 * math.pi * seconds / PERIOD)
    if motion == "hop":
        return Pose(y=-0.22 * far * abs(wave))
    if motion == "glide":
        return Pose(x=0.18 * far * wave)
    if motion == "float":
        return Pose(y=-0.18 * far * wave)
    if motion == "spin":
        return Pose(angle=90 * far * seconds)
    if motion == "sway":
        return Pose(angle=16 * far * wave, pivot=0.5)
    return Pose(scale=1 + 0.11 * far * (1 - math.cos(2 * math.pi * seconds / PERIOD)))


def draw_clip(rng: random.Random, *, width: int = 128, height: int = 128, pairs: float = 0.15) -> Clip:
    """A random clip; with probability `pairs` of two objects."""
    colour = rng.choice(tuple(COLOURS.values())) if rng.random() < 0.7 else tuple(rng.uniform(40, 250) for _ in "rgb")
    unit = min(width, height)
    first, second = rng.sample(OBJECTS, 2)
    if rng.random() < pairs:
        places = ((first, 0.27, rng.uniform(0.38, 0.46)), (second, 0.73, rng.uniform(0.38, 0.46)))
    else:
        places = ((first, 0.5 + rng.uniform(-0.08, 0.08), rng.uniform(0.48, 0.78)),)
    sprites = tuple(
        Sprite(name=name, x=width * x, y=height / 2 + unit * rng.uniform(-0.05, 0.12), side=unit * side)
        for name, x, side in places
    )
    return Clip(
        sprites=sprites,
        colour=colour,
        bucket=rng.randint(CALM, LIVELY),
        fps=7 if rng.random() < 0.6 else rng.randint(5, 14),
        width=width,
        height=height,
    )


def _draw(canvas: Image.Image, sprite: Sprite, at: Pose) -> None:
    """Paste with fractions of pixels, which a slow motion needs."""
    pixels = sprite.side * at.scale / SPRITE
    turn = math.radians(at.angle)
    cos, sin = math.cos(turn) / pixels, math.sin(turn) / pixels
    hinge = at.pivot * sprite.side  # below the centre on the canvas, and as far below it in the sprite
    x, y = sprite.x + at.x * sprite.side, sprite.y + at.y * sprite.side + hinge
    middle, low = SPRITE / 2, SPRITE / 2 + at.pivot * SPRITE
    inverse = (cos, sin, middle - cos * x - sin * y, -sin, cos, low + sin * x - cos * y)
    drawn = load_sprites()[sprite.name].transform(
        canvas.size, Image.Transform.AFFINE, inverse, resample=Image.Resampling.BILINEAR
    )
    canvas.alpha_composite(drawn)


def strip(frames: list[Image.Image]) -> Image.Image:
    """Frames side by side."""
    return Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames], axis=1))
