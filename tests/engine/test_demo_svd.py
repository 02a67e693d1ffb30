"""The demo SVD: it follows its picture, and moves as far as the motion bucket says."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from random import Random
from typing import Any

import pytest
import torch
from demo_model.clips import MOTION_OF, MOTIONS, Clip, Sprite, draw_clip, pose
from demo_model.evaluate_svd import score
from demo_model.scenes import OBJECTS

from skipstep.demo import MOTIONS as TOLD
from skipstep.demo import OBJECTS as DRAWN
from skipstep.demo import load_demo_svd

FROG = Clip(
    sprites=(Sprite(name="frog", x=64, y=72, side=80),), colour=(70, 130, 225), bucket=200, fps=7, width=128, height=128
)


def test_every_object_has_one_motion() -> None:
    assert sorted(name for names in MOTIONS.values() for name in names) == sorted(OBJECTS)
    assert MOTIONS == TOLD
    assert set(MOTION_OF) == set(DRAWN)


@pytest.mark.parametrize("motion", MOTIONS)
def test_motions_start_at_rest_and_grow_with_the_bucket(motion: str) -> None:
    rest = pose(motion, 0.0, 200)
    assert (rest.x, rest.y, rest.angle, rest.scale) == (0, 0, 0, 1)
    small, large = (pose(motion, 0.4, bucket) for bucket in (50, 100))

    def far(at: Any) -> float:
        return abs(at.x) + abs(at.y) + abs(at.angle) + abs(at.scale - 1)

    assert far(large) == pytest.approx(2 * far(small))
    assert far(small) > 0


def test_clips_begin_with_the_picture_whatever_the_bucket() -> None:
    calm, lively = FROG.tensor(4), replace(FROG, bucket=20).tensor(4)
    assert torch.equal(calm[0], lively[0])
    assert not torch.equal(calm[1], lively[1])
    slow = replace(FROG, fps=14).tensor(7)
    assert torch.equal(slow[2], calm[1])  # the same time


def test_random_clips_are_seeded() -> None:
    assert draw_clip(Random(3)) == draw_clip(Random(3))
    assert draw_clip(Random(3)) != draw_clip(Random(4))


def test_the_weights_are_small_enough() -> None:
    file = resources.files("skipstep.demo") / "svd.safetensors"
    assert len(file.read_bytes()) <= 15_000_000


@pytest.fixture(scope="module")
def pipe() -> Any:
    return load_demo_svd()


def test_svds_shape(pipe: Any) -> None:
    unet = pipe.unet
    assert type(unet).__name__ == "UNetSpatioTemporalConditionModel"
    assert len(unet.config.block_out_channels) == 4
    assert unet.config.layers_per_block == 2
    assert unet.config.num_frames == 14
    assert pipe.vae.config.scaling_factor == 0.18215
    assert pipe.scheduler.config.timestep_type == "continuous"


@pytest.mark.slow
def test_follows_the_picture_and_the_bucket(pipe: Any) -> None:
    """One hopping object, lively and calm: 25 steps of 14 frames each."""
    torch.set_num_threads(1)
    lively, _ = score(pipe, FROG, seed=0, guidance=2.0)
    calm, _ = score(pipe, replace(FROG, bucket=20), seed=0, guidance=2.0)
    assert lively.first_psnr > 20
    assert calm.first_psnr > 20
    assert lively.psnr > lively.still_psnr  # it moves as the truth does
    assert lively.travel > 2.5 * calm.travel
