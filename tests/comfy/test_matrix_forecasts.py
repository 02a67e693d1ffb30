"""Calibration, presets, windows and ways to keep features, each in a real run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.drawings import ksampler
from host.scenes import SCENES, Studio
from host.witness import Witness

from skipstep.deepcache import DeepCache
from skipstep.errors import OptionError
from skipstep.plan import preset

if TYPE_CHECKING:
    from host.process import Pack

STEPS = 12
CALIBRATED = DeepCache(interval=3, forecast="calibrated")
OF_SDXL = {"lossless": "F" * 10, "quality": "FrFrFrFrrF", "balanced": "FrrFrrFrrF", "fast": "FrrrrrrrrF"}


def slow(*names: str) -> list[Any]:
    """Parameters for the long run."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def drawn(studio: Studio, model: Any, sampler: str = "euler", **options: Any) -> torch.Tensor:
    """A picture of twelve steps, or other options of `KSampler`."""
    chosen = ksampler(**{"steps": STEPS, **options})
    return chosen(studio.core, replace(studio.sdxl, model=model), sampler)


def kinds(sampling: Any, model: Any) -> str:
    """What the latest run of a model did."""
    return str(sampling.speedup_of(model).record.latest.log.kinds)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative root mean square."""
    return float((a - b).norm() / b.norm())


def test_calibrated_measures_and_then_reuses(studio: Studio, sampling: Any) -> None:
    plain = drawn(studio, studio.sdxl.model)
    model = sampling.speed_up(studio.sdxl.model, cache=CALIBRATED)
    assert torch.equal(drawn(studio, model), plain)
    assert kinds(sampling, model) == "F" * STEPS
    second = drawn(studio, model)
    assert kinds(sampling, model) == "Frr" * 4
    assert torch.equal(drawn(studio, model), second)
    verbatim = sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3, forecast="verbatim"))
    assert 0 < distance(second, plain) < distance(drawn(studio, verbatim), plain)


def test_other_noise_levels_are_measured_anew(studio: Studio, sampling: Any) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache=CALIBRATED)
    for options, expected in (({}, "F" * STEPS), ({"steps": 6}, "F" * 6), ({"steps": 6, "seed": 9}, "FrrFrr")):
        drawn(studio, model, **options)
        assert kinds(sampling, model) == expected
    drawn(studio, model, "dpmpp_2m")  # at the noise levels of Euler
    assert kinds(sampling, model) == "Frr" * 4


@pytest.mark.parametrize("name", ["pag", "prompt-switch", *slow("areas", "one-at-a-time", "controlnet")])
def test_calibrated_goes_with_several_calls(studio: Studio, sampling: Any, plain: Any, name: str) -> None:
    scene = SCENES[name](studio)
    tiny = replace(scene.tiny, model=sampling.speed_up(scene.tiny.model, cache=CALIBRATED))
    assert torch.equal(scene.drawing(studio.core, tiny, "euler"), plain(name, "euler"))
    assert set(kinds(sampling, tiny.model)) == {"F"}
    reused = scene.drawing(studio.core, tiny, "euler")
    assert set(kinds(sampling, tiny.model)) == {"F", "r"}
    assert not torch.equal(reused, plain(name, "euler"))


def test_calibration_sees_the_guided_prediction_of_all_pictures(
    studio: Studio, sampling: Any, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pack.module("comfy_nodes.sampling.run").CachedRun
    guided, seen = run._guided, []

    def watched(self: Any, output: torch.Tensor) -> torch.Tensor:
        seen.append((output, guided(self, output)))
        return seen[-1][1]

    monkeypatch.setattr(run, "_guided", watched)
    drawn(studio, sampling.speed_up(studio.sdxl.model, cache=CALIBRATED), steps=3, batch=2)
    for output, prediction in seen:
        negative, positive = output.chunk(2)  # in the order that ComfyUI batches them in
        assert output.shape == (4, 4, 8, 8)
        assert torch.equal(prediction, negative + 4.0 * (positive - negative))
    assert len(seen) == 3 + 1 + 2  # the outputs, and those of one earlier evaluation, and of two


@pytest.mark.parametrize("sampler", ["heun", "dpm_adaptive"])
def test_calibrated_refuses_samplers_it_cannot_place(studio: Studio, sampling: Any, sampler: str) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache=CALIBRATED)
    with pytest.raises(OptionError, match=f"needs a sampler with one evaluation a step, got {sampler}"):
        drawn(studio, model, sampler)


@pytest.mark.parametrize("name", OF_SDXL)
def test_presets_of_sdxl_end_with_a_full_pass(studio: Studio, sampling: Any, name: str) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache=name)
    assert drawn(studio, model, steps=10).isfinite().all()
    assert kinds(sampling, model) == OF_SDXL[name]
    assert sampling.speedup_of(model).record.latest.source == name


def test_presets_know_samplers_of_two_evaluations(studio: Studio, sampling: Any) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache="balanced")
    drawn(studio, model, "heun", steps=4)
    assert kinds(sampling, model) == "FrrFrrF"


@pytest.mark.parametrize("name", OF_SDXL)
def test_presets_of_svd(studio: Studio, sampling: Any, name: str) -> None:
    tiny = replace(studio.svd, model=sampling.speed_up(studio.svd.model, cache=name))
    assert ksampler(steps=5)(studio.core, tiny, "euler").isfinite().all()
    schedule = preset(name, "svd").schedule(evaluations=5)
    assert kinds(sampling, tiny.model) == "".join("F" if schedule.is_full(at) else "r" for at in range(5))


@pytest.mark.parametrize(("name", "pattern"), [("lossless", "F"), ("quality", "Fr"), ("fast", "Frrrr")])
def test_presets_with_an_adaptive_sampler(studio: Studio, sampling: Any, name: str, pattern: str) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache=name)
    drawn(studio, model, "dpm_adaptive", steps=3, denoise=0.02)
    ran = kinds(sampling, model)
    assert ran == (pattern * len(ran))[: len(ran)]
    assert len(ran) > len(pattern)
    assert ("evenly" in sampling.speedup_of(model).record.latest.source) == (name != "lossless")


def test_a_tolerance_decides_as_it_goes(studio: Studio, sampling: Any) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache=DeepCache(tolerance=0.2))
    first = drawn(studio, model)
    ran = kinds(sampling, model)
    assert ran.startswith("F")
    assert ran.endswith("F")
    assert "r" in ran
    assert torch.equal(drawn(studio, model), first)
    strict = sampling.speed_up(studio.sdxl.model, cache=DeepCache(tolerance=0.001))
    drawn(studio, strict)
    assert kinds(sampling, strict).count("F") > ran.count("F")


def test_branches_may_be_mixed(studio: Studio, sampling: Any) -> None:
    """A prompt that begins within the run begins with a full pass, and then follows the plan."""
    scene = SCENES["prompt-switch"](studio)  # of four evaluations, the third has the other prompt
    for passes, expected in (((None, 0, 4, 4), "FrFr"), ((None, 4, 0, None), "FrFF")):
        model = sampling.speed_up(scene.tiny.model, cache=DeepCache(passes=passes, forecast="verbatim"))
        mixed = scene.drawing(studio.core, replace(scene.tiny, model=model), "euler")
        assert kinds(sampling, model) == expected
        one = sampling.speed_up(model, cache=DeepCache(full_evaluations=(0, 2, 3)[: 2 + (passes[3] is None)]))
        assert not torch.equal(scene.drawing(studio.core, replace(scene.tiny, model=one), "euler"), mixed)
        assert kinds(sampling, one) == expected


@pytest.mark.parametrize(
    ("sampler", "start", "end"),
    [("euler", 0.25, 0.75), ("euler", 0.0, 0.5), ("euler", 0.4, 1.0), ("euler", 0.5, 0.501), ("heun", 0.25, 0.75)],
)
def test_windows(studio: Studio, sampling: Any, sampler: str, start: float, end: float) -> None:
    window = sampling.Window(start=start, end=end)
    model = sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3), window=window)
    witness = Witness()
    ksampler(steps=STEPS)(studio.core, witness.beside(replace(studio.sdxl, model=model)), sampler)
    order = {"euler": 1, "heun": 2}[sampler]
    level = studio.sdxl.model.get_model_object("model_sampling").percent_to_sigma
    steps = witness.sigmas[::order]  # each step begins where the one before ends
    inside = [level(end) < sigma <= level(start) for sigma in steps for _ in range(order)][: len(witness.sigmas)]
    first = inside.index(True) if True in inside else 0
    expected = ["r" if inner and (at - first) % 3 else "F" for at, inner in enumerate(inside)]
    assert kinds(sampling, model) == "".join(expected)
    assert ("r" in expected) == (end - start > 0.1)


def test_the_window_of_a_preset_ends_with_a_full_pass(studio: Studio, sampling: Any) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache="balanced", window=sampling.Window(start=0.0, end=0.6))
    drawn(studio, model)
    ran = kinds(sampling, model)
    assert ran.rstrip("F") != ran
    assert "r" in ran
    assert ran.startswith("Frr")


def test_a_window_needs_a_sampler_that_can_be_placed(studio: Studio, sampling: Any) -> None:
    """Its steps are not those of the schedule, so features would be reused outside."""
    model = sampling.speed_up(studio.sdxl.model, cache="fast", window=sampling.Window(start=0.5))
    with pytest.raises(OptionError, match="needs a sampler whose number of evaluations is known, got dpm_adaptive"):
        drawn(studio, model, "dpm_adaptive")
    drawn(studio, sampling.speed_up(model, window=sampling.Window()), "dpm_adaptive", denoise=0.02)


def test_keeping_features_elsewhere(studio: Studio, sampling: Any) -> None:
    plain = drawn(studio, studio.sdxl.model)
    reusing = sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3))
    expected = drawn(studio, reusing)
    ways = {
        "cpu": sampling.speed_up(reusing, feature_device="cpu"),
        "cpu by options": sampling.speed_up(reusing, cache=DeepCache(interval=3, feature_device="cpu")),
        "float16": sampling.speed_up(reusing, feature_dtype="float16"),
        "float16 by options": sampling.speed_up(reusing, cache=DeepCache(interval=3, feature_dtype="float16")),
        "bfloat16": sampling.speed_up(reusing, feature_dtype="bfloat16", feature_device="cpu"),
    }
    for name, model in ways.items():
        made = drawn(studio, model)
        assert kinds(sampling, model) == "Frr" * 4
        assert torch.equal(made, expected) == name.startswith("cpu")
        assert distance(made, expected) < distance(plain, expected) / 2
    held = {name: sampling.speedup_of(model).record.latest.log for name, model in ways.items()}
    whole = sampling.speedup_of(reusing).record.latest.log.cache_bytes
    assert held["cpu"].host_bytes == whole
    assert held["float16"].cache_bytes == pytest.approx(whole / 2, rel=0.01)  # and a factor for each tensor
    assert held["bfloat16"].host_bytes == whole // 2
