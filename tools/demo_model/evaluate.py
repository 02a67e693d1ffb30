"""Does the demo model draw what it is asked for? Scored against renders, with no other network."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .scenes import COLOURS, OBJECTS, background, paste, to_tensor

SIDE = 128
SHIFTS = (-10, -5, 0, 5, 10)
SIZES = (78, 88, 98)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An object and its background."""

    name: str
    colour: str

    @property
    def prompt(self) -> str:
        """The caption that the evaluation asks for."""
        return f"a {self.name} on a {self.colour} background"


def evaluation_subjects(count: int = 64) -> list[Subject]:
    """Every object, and every colour equally often."""
    colours = list(COLOURS)
    return [
        Subject(name=OBJECTS[i % len(OBJECTS)], colour=colours[(3 * i + i // len(OBJECTS)) % len(colours)])
        for i in range(count)
    ]


class NearestRender:
    """Names a picture by the nearest of many renders, in RGB at 16 x 16 pixels."""

    def __init__(self) -> None:
        self.subjects: list[Subject] = []
        renders = []
        for name, colour, dx, dy, side in product(OBJECTS, COLOURS, SHIFTS, SHIFTS, SIZES):
            canvas = background(colour, SIDE, SIDE)
            paste(canvas, name, x=SIDE / 2 + dx, y=SIDE / 2 + dy, side=side)
            renders.append(_thumbnail(canvas))
            self.subjects.append(Subject(name=name, colour=colour))
        self._renders = torch.stack(renders)

    def name(self, images: list[Image.Image]) -> list[Subject]:
        """The subject of each picture."""
        distances = torch.cdist(torch.stack([_thumbnail(image) for image in images]), self._renders)
        return [self.subjects[int(index)] for index in distances.argmin(1)]


def _thumbnail(image: Image.Image) -> Tensor:
    return F.adaptive_avg_pool2d(to_tensor(image.convert("RGB"))[None], 16).flatten()


def draw(pipe: Any, subjects: list[Subject], *, steps: int = 30, guidance: float = 3.0) -> list[Image.Image]:
    """One picture a subject, seeds 0, 1, 2, ..., in batches of 16."""
    pipe.set_progress_bar_config(disable=True)
    images: list[Image.Image] = []
    for first in range(0, len(subjects), 16):
        batch = subjects[first : first + 16]
        images += pipe(
            [subject.prompt for subject in batch],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(first + i) for i in range(len(batch))],
        ).images
    return images


def contact_sheet(images: list[Image.Image], columns: int = 16) -> Image.Image:
    """All pictures side by side."""
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * SIDE, rows * SIDE))
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * SIDE, index // columns * SIDE))
    return sheet
