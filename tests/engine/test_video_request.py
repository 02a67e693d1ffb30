from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from skipstep import DeepCache
from skipstep.engine.video_request import VideoRequest
from skipstep.errors import OptionError

PICTURE = Image.fromarray(np.arange(48 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 48, 3))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("picture", "cat.png", "picture must be an RGB picture of Pillow, got 'cat.png'; use read_picture"),
        ("picture", PICTURE.convert("L"), "picture must be an RGB picture"),
        ("frames", 0, "frames must be 1..128, got 0"),
        ("frames", 129, "frames must be 1..128, got 129"),
        ("frames", 7.5, "frames must be a whole number, got 7.5"),
        ("fps", 0, "fps must be 1..60, got 0"),
        ("motion", -1, "motion must be 0..511, got -1"),
        ("noise", float("nan"), "noise must be 0.0..1.0, got nan"),
        ("width", 100, "width must be a multiple of 8 pixels, got 100; use 96"),
        ("height", 8, "height must be 32..4096, got 8"),
        ("steps", 0, "steps must be 1..1000, got 0"),
        ("min_guidance", -1.0, "min_guidance must be 0.0..20.0, got -1.0"),
        ("max_guidance", 21.0, "max_guidance must be 0.0..20.0, got 21.0"),
        ("seed", 2**32, "seed must be 0..4294967295, got 4294967296"),
        ("decode_chunk", 0, "decode_chunk must be 1..128, got 0"),
        ("cache", 3, "cache must be the name of a preset, a plan file, a Plan or a DeepCache, got 3"),
    ],
)
def test_refuses_what_is_out_of_range(field: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VideoRequest(**{"picture": PICTURE, field: value})


def test_the_limits_themselves_are_allowed() -> None:
    VideoRequest(picture=PICTURE, frames=1, fps=1, motion=0, noise=0.0, width=32, height=4096, seed=0)
    VideoRequest(picture=PICTURE, frames=128, fps=60, motion=511, noise=1.0, steps=1000, max_guidance=0.0)


def test_a_seed_is_drawn_once_and_kept() -> None:
    assert len({VideoRequest(picture=PICTURE).seed for _ in range(8)}) > 1
    request = VideoRequest(picture=PICTURE)
    assert dataclasses.replace(request, steps=5).seed == request.seed


def test_as_dict_is_json_and_tells_pictures_apart() -> None:
    request = VideoRequest(picture=PICTURE, cache=DeepCache(interval=4), seed=1)
    plain = json.loads(json.dumps(request.as_dict()))
    assert set(plain) == {field.name for field in dataclasses.fields(VideoRequest)}
    assert plain["cache"]["interval"] == 4
    assert plain["picture"]["width"] == 48
    other = Image.fromarray(255 - np.asarray(PICTURE))
    digests = {VideoRequest(picture=picture).as_dict()["picture"]["sha256"] for picture in (PICTURE, other)}
    assert len(digests) == 2
