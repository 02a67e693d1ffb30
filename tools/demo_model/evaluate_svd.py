"""Does the video model follow its picture and its motion bucket? Scored against the true clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from .clips import MOTION_OF, Clip, Sprite, strip
from .scenes import COLOURS, OBJECTS, gradient

FRAMES, FPS = 14, 7
BUCKETS = (60, 127, 200)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One clip against the truth."""

    name: str
    motion: str
    bucket: int
    first_psnr: float  # of the first frame, dB
    psnr: float  # of all frames, dB
    still_psnr: float  # of a clip that repeats the picture, dB
    travel: float  # how far the object's centre gets from where it was, pixels
    true_travel: float


def evaluation_clips() -> list[Clip]:
    """Every object once, the colours and buckets in turns."""
    colours = list(COLOURS.values())
    return [
        Clip(
            sprites=(Sprite(name=name, x=64, y=68, side=80),),
            colour=colours[(3 * index) % len(colours)],
            bucket=BUCKETS[index % len(BUCKETS)],
            fps=FPS,
            width=128,
            height=128,
        )
        for index, name in enumerate(OBJECTS)
    ]


def score(pipe: Any, clip: Clip, *, seed: int, guidance: float) -> tuple[Score, list[Image.Image]]:
    """Make the clip from its first frame, and score it."""
    truth = clip.frames(FRAMES)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        truth[0],
        height=clip.height,
        width=clip.width,
        num_frames=FRAMES,
        num_inference_steps=25,
        max_guidance_scale=guidance,
        motion_bucket_id=clip.bucket,
        fps=clip.fps,
        generator=torch.Generator().manual_seed(seed),
    ).frames[0]
    name = clip.sprites[0].name
    figures = Score(
        name=name,
        motion=MOTION_OF[name],
        bucket=clip.bucket,
        first_psnr=_psnr(truth[:1], made[:1]),
        psnr=_psnr(truth, made),
        still_psnr=_psnr(truth, truth[:1] * FRAMES),
        travel=_travel(made, clip),
        true_travel=_travel(truth, clip),
    )
    return figures, made


def _pixels(frames: list[Image.Image]) -> npt.NDArray[np.float32]:
    return np.stack([np.asarray(frame.convert("RGB"), np.float32) for frame in frames])


def _psnr(truth: list[Image.Image], made: list[Image.Image]) -> float:
    error = float(np.square(_pixels(truth) - _pixels(made)).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _travel(frames: list[Image.Image], clip: Clip) -> float:
    """The largest distance of the object's centre from its place in the first frame."""
    empty = np.asarray(gradient(clip.colour, clip.width, clip.height), np.float32)
    weights = np.clip(np.abs(_pixels(frames) - empty).max(-1) - 40, 0, 60)
    y, x = np.mgrid[: clip.height, : clip.width]
    total = weights.sum((1, 2)) + 1e-6
    centres = np.stack([(weights * axis).sum((1, 2)) / total for axis in (x, y)], axis=1)
    return float(np.linalg.norm(centres - centres[0], axis=1).max())


def sheet(rows: list[list[Image.Image]], every: int = 2) -> Image.Image:
    """One clip a row, every second frame, at half size."""
    strips = [strip(row[::every]) for row in rows]
    made = Image.new("RGB", (strips[0].width, sum(one.height for one in strips)))
    for index, one in enumerate(strips):
        made.paste(one, (0, index * one.height))
    return made
