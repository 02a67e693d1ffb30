"""Runs that begin with a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

from skipstep.engine import SAMPLERS, ImageEngine, ImageRequest
from skipstep.engine.metrics import image_psnr
from skipstep.errors import OptionError

RequestFor = Callable[..., ImageRequest]
pytestmark = pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")


@pytest.fixture(scope="module")
def picture(engine: ImageEngine) -> Image.Image:
    request = ImageRequest(prompt="a fox on a blue background", width=64, height=64, steps=12, seed=3)
    return engine.generate(request).image


def test_lossless_is_the_plain_pipeline(engine: ImageEngine, request_for: RequestFor, picture: Image.Image) -> None:
    made = engine.generate(request_for(cache="lossless", picture=picture, strength=0.5))
    pipe = StableDiffusionXLImg2ImgPipeline(**engine.model.pipe.components)
    latents = pipe(
        "a fox on a blue background",
        image=picture,
        strength=0.5,
        num_inference_steps=12,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images
    assert torch.equal(made.latents, latents)
    assert made.report.passes == "F" * 6


def test_strength_says_how_much_changes(engine: ImageEngine, request_for: RequestFor, picture: Image.Image) -> None:
    requests = [request_for(picture=picture, strength=strength, steps=30, seed=9) for strength in (0.2, 0.5, 0.9)]
    made = [engine.generate(request) for request in requests]
    assert [len(one.report.passes) for one in made] == [6, 15, 27]
    likeness = [image_psnr(picture, one.image) for one in made]
    assert likeness == sorted(likeness, reverse=True)
    assert made[2].report.reuse_passes > made[2].report.full_passes


@pytest.mark.slow
def test_every_sampler_draws_near_its_uncached_picture(
    engine: ImageEngine, request_for: RequestFor, picture: Image.Image
) -> None:
    for sampler in SAMPLERS:
        request = request_for(picture=picture, strength=0.8, steps=20, sampler=sampler, cache="quality")
        made = engine.generate(request)
        plain = engine.generate(replace(request, cache="lossless"))
        assert made.report.reuse_passes > 0, sampler
        # at 64 pixels: 17 dB with pndm, which repeats an evaluation, 24 where noise is added on the way
        assert image_psnr(plain.image, made.image) > 15, sampler


def test_the_picture_is_fitted_to_the_size(engine: ImageEngine, request_for: RequestFor, picture: Image.Image) -> None:
    made = engine.generate(request_for(picture=picture.resize((100, 50)), width=64, height=96))
    assert made.image.size == (64, 96)


def test_text_to_image_is_not_touched(engine: ImageEngine, request_for: RequestFor, picture: Image.Image) -> None:
    before = engine.generate(request_for()).latents
    engine.generate(request_for(picture=picture))
    assert torch.equal(engine.generate(request_for()).latents, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 0.5}, "strength is for a picture to begin with, got 0.5 and no picture"),
        ({"picture": Image.new("L", (8, 8))}, "picture must be an RGB picture"),
        ({"picture": Path("x.png")}, "use read_picture"),
        ({"picture": Image.new("RGB", (8, 8)), "strength": 1.5}, r"strength must be 0.0..1.0, got 1.5"),
        ({"picture": Image.new("RGB", (8, 8)), "strength": 0.03}, "leaves no step of 30 to run; use 0.04 or more"),
    ],
)
def test_bad_input_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ImageRequest(prompt="x", **options)  # type: ignore[arg-type]


def test_the_whole_is_said(picture: Image.Image) -> None:
    said = ImageRequest(prompt="x", picture=picture, seed=1).as_dict()
    assert said["strength"] == 0.75
    assert said["picture"]["width"] == 64
    assert len(said["picture"]["sha256"]) == 64


def test_a_plan_is_stretched_to_what_is_left(
    engine: ImageEngine, request_for: RequestFor, picture: Image.Image
) -> None:
    request = request_for(picture=picture, strength=0.7, steps=30, sampler="euler", cache="balanced")
    made = engine.generate(request)
    assert "stretched" in made.cache_source
    assert len(made.report.passes) == 21
