from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from skipstep import DeepCache
from skipstep.engine import PRESETS, SAMPLERS, ImageEngine, ImageRequest, caches, compare, preset
from skipstep.engine.metrics import image_psnr
from skipstep.errors import BranchError, DemoVocabularyWarning, FewStepsWarning, IgnoredInputWarning, OptionError

RequestFor = Callable[..., ImageRequest]


def test_lossless_is_the_plain_pipeline(engine: ImageEngine, request_for: RequestFor) -> None:
    made = engine.generate(request_for(cache="lossless"))
    latents = engine.model.pipe(
        "a fox on a blue background",
        width=64,
        height=64,
        num_inference_steps=12,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images
    assert torch.equal(made.latents, latents)
    assert made.report.passes == "F" * 12
    assert latents.std() > 0.1


def test_a_seed_fixes_the_picture_and_another_changes_it(engine: ImageEngine, request_for: RequestFor) -> None:
    first, again, other = (engine.generate(request_for(seed=seed)).latents for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("name", "passes"), [("quality", "FrFrFrFrFrF"), ("balanced", "FrrFrrFrrrF"), ("fast", "FrrrrFrrrrF")]
)
def test_presets_run_the_passes_they_promise(
    engine: ImageEngine, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch, name: str, passes: str
) -> None:
    monkeypatch.setattr(caches, "nearest_plan", lambda *_, **__: None)
    seen: list[str] = []
    made = engine.generate(request_for(cache=name, steps=11), lambda _, total, kind: seen.append(f"{total}{kind}"))
    assert made.report.passes == passes
    assert seen == [f"11{kind}" for kind in passes]


def test_every_sampler_draws(engine: ImageEngine, request_for: RequestFor) -> None:
    for sampler in SAMPLERS:
        made = engine.generate(request_for(sampler=sampler, steps=10))
        assert made.report.reuse_passes > 0, sampler
        assert torch.isfinite(made.latents).all(), sampler
        assert np.asarray(made.image).std() > 5, sampler


def test_the_model_is_left_as_it_was(engine: ImageEngine, request_for: RequestFor) -> None:
    unet, scheduler = engine.model.pipe.unet, engine.model.pipe.scheduler
    engine.generate(request_for())
    with pytest.raises(BranchError, match="branch must be 0..8 for this UNet"):
        engine.generate(request_for(cache=DeepCache(branch=9)))
    assert engine.model.pipe.unet is unet
    assert engine.model.pipe.scheduler is scheduler


def test_unknown_words_are_named(engine: ImageEngine, request_for: RequestFor) -> None:
    with pytest.warns(DemoVocabularyWarning, match="does not know: unicorn, moon;"):
        engine.generate(request_for(prompt="A unicorn on a blue moon", steps=10))


def test_what_has_no_effect_is_said(engine: ImageEngine, request_for: RequestFor) -> None:
    with pytest.warns(IgnoredInputWarning, match="the prompt has 102 tokens and the model reads the first 77"):
        engine.generate(request_for(prompt="apple " * 100, steps=10))
    with pytest.warns(IgnoredInputWarning, match="the negative prompt has no effect at guidance 1"):
        engine.generate(request_for(negative_prompt="a car", guidance_scale=1.0, steps=10))


def test_few_steps_are_warned_of(engine: ImageEngine, request_for: RequestFor) -> None:
    with pytest.warns(FewStepsWarning, match="4 steps"):
        engine.generate(request_for(steps=4))


def test_compare_measures_both_in_turns(engine: ImageEngine, request_for: RequestFor) -> None:
    runs: list[tuple[str, int]] = []
    request = request_for(steps=30, width=128, height=128)
    result = compare(engine, request, rounds=2, on_run=lambda name, turn: runs.append((name, turn)))
    assert runs == [("baseline", 0), ("cached", 0), ("cached", 1), ("baseline", 1)]
    assert result.baseline.report.reuse_passes == 0
    assert result.cached.report.reuse_passes == 20
    assert result.speedup > 1.2  # 2.8 when nothing else runs
    assert result.psnr == image_psnr(result.baseline.image, result.cached.image)
    assert 30 < result.psnr < 80  # close, and not the same picture
    assert set(result.as_dict()) >= {"speedup", "psnr_db", "ssim", "latent_psnr_db"}


def test_equal_pictures_have_no_psnr(engine: ImageEngine, request_for: RequestFor) -> None:
    result = compare(engine, request_for(cache="lossless"), rounds=1)
    assert result.psnr == float("inf")
    assert result.ssim == 1
    assert result.as_dict()["psnr_db"] is None  # JSON has no infinity


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(OptionError, match="cache must be one of lossless, quality, balanced, fast, got 'best'"):
        preset("best", "sdxl")
    with pytest.raises(OptionError, match="model family must be one of sdxl, sd15, svd, got 'dit'"):
        preset("fast", "dit")


def test_every_family_has_the_same_presets() -> None:
    assert {tuple(presets) for presets in PRESETS.values()} == {("lossless", "quality", "balanced", "fast")}
