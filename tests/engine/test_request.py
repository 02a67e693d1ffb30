from __future__ import annotations

import dataclasses
import json

import pytest

from skipstep import DeepCache
from skipstep.engine import ImageRequest
from skipstep.errors import OptionError


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 100, "width must be a multiple of 8 pixels, got 100; use 96"),
        ("height", 8, "height must be 32..4096, got 8"),
        ("width", 8192, "width must be 32..4096, got 8192"),
        ("steps", 0, "steps must be 1..1000, got 0"),
        ("seed", -1, "seed must be 0..4294967295, got -1"),
        ("seed", 2**32, "seed must be 0..4294967295, got 4294967296"),
        ("guidance_scale", float("nan"), "guidance must be 0.0..50.0, got nan"),
        ("steps", 30.5, "steps must be a whole number, got 30.5"),
        ("seed", True, "seed must be a whole number, got True"),
        ("prompt", None, "prompt must be text, got None"),
        ("negative_prompt", "\udcff", "can be written as UTF-8"),
        ("cache", 3, "cache must be the name of a preset, a plan file, a Plan or a DeepCache, got 3"),
        ("sampler", "eular", "sampler must be one of euler, .* got 'eular'"),
    ],
)
def test_refuses_what_is_out_of_range(field: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ImageRequest(**{"prompt": "x", field: value})


def test_the_limits_themselves_are_allowed() -> None:
    ImageRequest(prompt="", width=32, height=4096, steps=1000, seed=2**32 - 1, guidance_scale=0)


def test_a_seed_is_drawn_once_and_kept() -> None:
    seeds = {ImageRequest(prompt="x").seed for _ in range(8)}
    assert len(seeds) > 1
    request = ImageRequest(prompt="x")
    assert dataclasses.replace(request, steps=5).seed == request.seed


def test_as_dict_is_json_and_complete() -> None:
    request = ImageRequest(prompt="x", cache=DeepCache(interval=4, start_step=2), seed=1)
    plain = json.loads(json.dumps(request.as_dict()))
    assert set(plain) == {field.name for field in dataclasses.fields(ImageRequest)}
    assert plain["cache"]["interval"] == 4
    assert plain["cache"]["start_step"] == 2
