"""The demo model is small, knows CLIP's tokens, and draws what it is asked for."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch
from check_picture import problem
from demo_model.evaluate import NearestRender, Subject, draw, evaluation_subjects
from demo_model.scenes import COLOURS as TRAINED_COLOURS
from demo_model.scenes import OBJECTS as TRAINED_OBJECTS
from PIL import Image

from skipstep.demo import COLOURS, OBJECTS, load_demo_sdxl, unknown_words


def test_the_weights_are_at_most_20_mb() -> None:
    assert 1e6 < len((resources.files("skipstep.demo") / "sdxl.safetensors").read_bytes()) <= 20e6


def test_the_tokenizer_is_clips() -> None:
    pipe = load_demo_sdxl()
    # ids of OpenAI's CLIP for this text
    assert pipe.tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(pipe.tokenizer) == 49408
    padded = pipe.tokenizer_2("a", padding="max_length", max_length=77)["input_ids"]
    assert padded == [49406, 320, 49407] + [0] * 74  # as SDXL's second tokenizer pads, with "!"


def test_it_was_trained_on_what_it_says_it_knows() -> None:
    assert tuple(OBJECTS) == TRAINED_OBJECTS
    assert tuple(COLOURS) == tuple(TRAINED_COLOURS)
    assert unknown_words("A red apple, a Dragon and a dragon's cat!") == ["dragon", "dragon's"]


def test_encoding_and_decoding_keep_a_scene() -> None:
    from demo_model.evaluate import background, paste
    from demo_model.scenes import to_tensor

    canvas = background("blue", 128, 128)
    paste(canvas, "fox", x=64, y=64, side=90)
    image = to_tensor(canvas)[None]
    vae = load_demo_sdxl().vae
    with torch.no_grad():
        decoded = vae.decode(vae.encode(image).latent_dist.mean).sample.clamp(-1, 1)
    psnr = 10 * torch.log10(4 / (decoded - image).square().mean())
    assert psnr > 20


def _share_right(count: int) -> float:
    subjects = evaluation_subjects(count)
    named = NearestRender().name(draw(load_demo_sdxl(), subjects, steps=20))
    return sum(a.name == b.name for a, b in zip(named, subjects, strict=True)) / count


@pytest.mark.slow
def test_it_draws_the_subject_it_is_asked_for() -> None:
    assert _share_right(24) >= 0.8  # every object once


@pytest.mark.slow
def test_it_draws_64_prompts() -> None:
    assert _share_right(64) >= 0.8


@pytest.mark.slow
def test_the_classifier_can_say_no() -> None:
    classifier = NearestRender()
    assert classifier.subjects[0] == Subject(name="cat", colour="red")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8))
    assert problem(noise, None) is not None
    assert "noise" in str(problem(noise, None))
    assert "constant" in str(problem(Image.new("RGB", (64, 64), "red"), None))
    assert "not like a cat" in str(problem(draw(load_demo_sdxl(), [Subject(name="car", colour="green")])[0], "cat"))
