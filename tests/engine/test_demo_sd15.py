"""The second demo model has SD1.5's shape, predicts noise, and draws the object that it is asked for."""

from __future__ import annotations

import random
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from demo_model import models
from demo_model.evaluate import NearestRender, Subject, draw
from demo_model.latents import analytic_latents
from demo_model.scenes import draw_scene, to_tensor
from demo_model.text import END, PromptEncoder, used_tokens
from safetensors.torch import load
from saved import tiny_sdxl
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.deepcache import DiffusersUNetSplit
from skipstep.demo import COLOURS, OBJECTS, load_demo_sd15, load_demo_sdxl
from skipstep.engine import SAMPLERS, ImageEngine, ImageRequest, load_model
from skipstep.engine.samplers import new_scheduler
from skipstep.errors import BranchError, DemoVocabularyWarning

SUBJECTS = [Subject(name=name, colour=colour) for name, colour in zip(OBJECTS[::3], COLOURS, strict=True)]


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = load_demo_sd15()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def named(pipe: Any) -> list[Subject]:
    """What eight pictures of `SUBJECTS` look like."""
    return NearestRender().name(draw(pipe, SUBJECTS, steps=20))


def test_the_weights_are_at_most_12_mb() -> None:
    assert 1e6 < len((resources.files("skipstep.demo") / "sd15.safetensors").read_bytes()) <= 12e6


def test_it_has_sd15s_shape(pipe: Any) -> None:
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert [type(block).__name__ for block in pipe.unet.down_blocks] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    DiffusersUNetSplit(pipe.unet, 11)
    with pytest.raises(BranchError, match="12 skips"):
        DiffusersUNetSplit(pipe.unet, 12)


def test_it_shares_the_vae_of_the_demo_sdxl(pipe: Any) -> None:
    ours, theirs = pipe.vae.state_dict(), load_demo_sdxl().vae.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert pipe.vae.config.scaling_factor == 0.13025


def test_half_precision_is_half_throughout() -> None:
    pipe = load_demo_sd15(torch.float16)
    kinds = {p.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder) for p in part.parameters()}
    assert kinds == {torch.float16}


def test_load_model_finds_it() -> None:
    model = load_model("demo-sd15")
    assert (model.name, model.family, model.size, model.is_demo) == ("demo-sd15", "sd15", (128, 128), True)
    assert model.guidance_scale == 3.0
    assert load_model().is_demo


def test_a_folder_called_demo_is_not_the_demo(tmp_path: Path) -> None:
    tiny_sdxl().save_pretrained(tmp_path / "demo")
    model = load_model(str(tmp_path / "demo"))
    assert (model.name, model.is_demo, model.guidance_scale) == ("demo", False, 5.0)


def test_unknown_words_are_named() -> None:
    engine = ImageEngine(load_model("demo-sd15"))
    request = ImageRequest(
        prompt="a dragon on a blue background", width=64, height=64, steps=2, cache="lossless", seed=1
    )
    with pytest.warns(DemoVocabularyWarning, match="does not know: dragon;"):
        engine.generate(request)


def test_the_conditioning_is_what_it_was_trained_with(pipe: Any) -> None:
    """The whole vocabulary in the pipeline gives what the compact one gave in training."""
    ids = used_tokens(pipe.tokenizer)
    encoder, _ = models.new_text_encoders(len(ids), end=ids.index(END))
    state = pipe.text_encoder.state_dict()
    rows = next(key for key in state if key.endswith("token_embedding.weight"))
    encoder.load_state_dict({**state, rows: state[rows][ids]})
    prompts = ["a fox on a blue background", "", "a cat and a dog on a white background"]
    with torch.no_grad():
        expected = PromptEncoder(pipe.tokenizer, encoder.eval())(prompts)
        ours, _ = pipe.encode_prompt(prompts, "cpu", 1, False)
    assert not torch.allclose(expected[0], expected[1], atol=0.1)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)  # rounding of float32


def test_only_known_words_are_stored(pipe: Any) -> None:
    stored = load((resources.files("skipstep.demo") / "sd15.safetensors").read_bytes())
    ids = used_tokens(pipe.tokenizer)
    assert stored["token_ids"].tolist() == ids
    assert [len(value) for key, value in stored.items() if key.endswith("token_embedding.weight")] == [len(ids)]
    assert not any(key.startswith("vae.") for key in stored)
    filled = pipe.text_encoder.get_input_embeddings().weight.abs().sum(1).nonzero().flatten()
    assert filled.tolist() == ids


def test_every_sampler_is_told_that_it_predicts_noise(pipe: Any) -> None:
    assert {new_scheduler(name, pipe.scheduler.config).config.prediction_type for name in SAMPLERS} == {"epsilon"}


@torch.no_grad()
def test_it_predicts_noise(pipe: Any) -> None:
    rng = random.Random(11)
    scenes = [draw_scene(rng) for _ in range(8)]
    latents = analytic_latents(torch.stack([to_tensor(scene.image) for scene in scenes]))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    alpha = models.noise_levels()[500]
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    hidden, _ = pipe.encode_prompt([scene.caption for scene in scenes], "cpu", 1, False)
    predicted = pipe.unet(noisy, torch.tensor(500), hidden).sample
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    assert (predicted - noise).square().mean() < 0.1 * noise.square().mean()
    assert (predicted - velocity).square().mean() > 0.5 * velocity.square().mean()


def test_it_draws_the_object_it_is_asked_for(named: list[Subject]) -> None:
    assert sum(a.name == b.name for a, b in zip(named, SUBJECTS, strict=True)) >= 7
    assert len({subject.name for subject in named}) >= 7


def test_it_draws_the_background_it_is_asked_for(named: list[Subject]) -> None:
    assert sum(a.colour == b.colour for a, b in zip(named, SUBJECTS, strict=True)) >= 6


def test_reuse_changes_the_picture_a_little(pipe: Any) -> None:
    def latents() -> Tensor:
        seed = torch.Generator().manual_seed(4)
        drawn: Tensor = pipe(
            "a fox on a blue background", num_inference_steps=20, guidance_scale=3.0, generator=seed,
            output_type="latent",
        ).images  # fmt: skip
        return drawn

    plain = latents()
    with speed_up(pipe, DeepCache(interval=3)) as run:
        cached = latents()
    assert (run.report.full_passes, run.report.reuse_passes) == (7, 13)
    assert plain.std() > 1
    assert not torch.equal(cached, plain)
    assert torch.corrcoef(torch.stack([cached.flatten(), plain.flatten()]))[0, 1] > 0.95
    assert torch.equal(latents(), plain)
