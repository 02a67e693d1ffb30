"""Interval 3 in every scene: which passes run, and that each call is given its own features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.sample
import node_helpers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host.drawings import STEPS
from host.scenes import SCENES, SEVERAL_CALLS, Calls, Studio, two_areas_of_one_shape, two_tiles
from host.tiny_checkpoints import LORA
from host.witness import Due, Witness, expected_passes

from skipstep.deepcache import DeepCache, LdmUNetSplit

INTERVAL = 3


def pairs() -> list[Any]:
    """Every scene with both samplers at both branches; the quick run has one pair of each, and two of some."""
    quick = {(name, "euler", 0) for name in SCENES} | {(name, "heun", 4) for name in SEVERAL_CALLS}
    cases = [(name, sampler, branch) for name in SCENES for sampler in STEPS for branch in (0, 4)]
    return [case if case in quick else pytest.param(*case, marks=pytest.mark.slow) for case in cases]


class Oracle:
    """Does by itself what a verbatim cache is to do, by the names of the calls, and compares each output."""

    def __init__(self, branch: int, calls: Calls) -> None:
        self.kinds = ""
        self._branch = branch
        self._calls = calls
        self._due = Due(INTERVAL)
        self._evaluation = -1
        self._names: tuple[str, ...] = ()
        self._kinds = ""
        self._at = 0
        self._features: dict[tuple[str, int], torch.Tensor] = {}

    def inside(self, model: Any) -> Any:
        """The model, compared at every call."""
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "oracle", self._evaluate)
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "oracle", self._call)
        return model

    def _evaluate(self, executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        assert self._at == len(self._names)  # all calls of the evaluation before came
        self._evaluation, self._at = self._evaluation + 1, 0
        self._names = self._calls(float(timestep.flatten()[0]))
        self._kinds = self._due.kinds(self._evaluation, self._names)
        return executor(x, timestep, *args, **kwargs)

    def _call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        name, kind = self._names[self._at], self._kinds[self._at]
        key = (name, self._names[: self._at].count(name))
        self._at += 1
        split = LdmUNetSplit(executor.class_obj, self._branch)
        random = torch.get_rng_state()  # token merging draws
        if kind == "F":
            expected, self._features[key] = split.full(*args, **kwargs)
        else:
            expected = split.reuse(self._features[key], *args, **kwargs)
        torch.set_rng_state(random)
        output = executor(*args, **kwargs)
        assert torch.equal(output, expected), f"call {key} of evaluation {self._evaluation}"
        self.kinds += kind
        return output


@pytest.mark.parametrize(("name", "sampler", "branch"), pairs())
def test_every_scene(studio: Studio, sampling: Any, plain: Any, name: str, sampler: str, branch: int) -> None:
    scene = SCENES[name](studio)
    options = DeepCache(interval=INTERVAL, branch=branch, forecast="verbatim")
    cached = replace(scene.tiny, model=sampling.speed_up(scene.tiny.model, cache=options))
    record = sampling.speedup_of(cached.model).record
    witness = Witness()
    first = scene.drawing(studio.core, witness.beside(cached), sampler)
    expected = expected_passes([scene.calls_at(sigma) for sigma in witness.sigmas], interval=INTERVAL)
    assert record.latest.log.kinds == expected
    assert {"F", "r"} == set(expected)
    assert first.isfinite().all()
    assert not torch.equal(first, plain(name, sampler))
    oracle = Oracle(branch, scene.calls_at)
    compared = replace(cached, model=oracle.inside(cached.model))
    assert torch.equal(scene.drawing(studio.core, compared, sampler), first)  # queued again
    assert record.latest.log.kinds == oracle.kinds == expected


def test_the_oracle_tells_calls_apart(studio: Studio, sampling: Any) -> None:
    scene = two_tiles(studio)
    model = sampling.speed_up(scene.tiny.model, cache=DeepCache(interval=INTERVAL, forecast="verbatim"))
    swapped = iter([("left", "right"), ("right", "left")] * 2)
    oracle = Oracle(0, lambda _: next(swapped))
    with pytest.raises(AssertionError, match="of evaluation 1"):
        scene.drawing(studio.core, replace(scene.tiny, model=oracle.inside(model)), "euler")


def test_the_model_patched_after_the_cache(studio: Studio, sampling: Any) -> None:
    scene = SCENES["everything"](studio)
    options = DeepCache(interval=INTERVAL)
    before = studio.sdxl.model.clone()
    model = sampling.speed_up(before, cache=options)
    (model,) = studio.core.call("LoraLoaderModelOnly", model=model, lora_name=LORA, strength_model=0.5)
    (model,) = studio.core.call("FreeU_V2", model=model, b1=1.3, b2=1.4, s1=0.9, s2=0.2)
    (model,) = studio.core.call("PerturbedAttentionGuidance", model=model, scale=2.0)
    after = scene.drawing(studio.core, replace(scene.tiny, model=model), "euler")
    cached = sampling.speed_up(scene.tiny.model, cache=options)
    assert torch.equal(after, scene.drawing(studio.core, replace(scene.tiny, model=cached), "euler"))
    assert sampling.speedup_of(model).record.latest.log.kinds == "FFrrrrFF"


def test_tiles_are_as_pictures_of_their_own(studio: Studio, sampling: Any) -> None:
    scene = two_tiles(studio)
    size = {"width": 128, "height": 64, "target_width": 128, "target_height": 64}  # else they are each picture's own
    prompts = [node_helpers.conditioning_set_values(c, size) for c in (scene.tiny.positive, scene.tiny.negative)]
    options = DeepCache(interval=INTERVAL)

    def drawn(model: Any, noise: torch.Tensor) -> torch.Tensor:
        inputs = (noise, 6, 4.0, "euler", "normal", *prompts, torch.zeros_like(noise))
        with torch.inference_mode():
            samples: torch.Tensor = comfy.sample.sample(sampling.speed_up(model, cache=options), *inputs)
        return samples

    noise = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1))
    left, right = (drawn(studio.sdxl.model, half.contiguous()) for half in noise.chunk(2, dim=3))
    assert not torch.equal(left, right)
    assert torch.equal(drawn(scene.tiny.model, noise), torch.cat([left, right], dim=3))


def test_batches_that_change_during_a_run_do_not_mix_prompts(studio: Studio, sampling: Any) -> None:
    """ComfyUI batches what fits into memory; the prompts of one area have one uuid, negative and positive."""
    scene = two_areas_of_one_shape(studio)
    room = [2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]  # conditionings that fit, for each call of the UNet
    pairs, alone = ("negative pair", "positive pair", "whole"), ("negative b", "negative a", "positive pair", "whole")
    calls = iter([pairs, alone, pairs, pairs])
    oracle = Oracle(0, lambda _: next(calls))

    def needed(shape: Any, **_: Any) -> int:
        return 0 if shape[0] <= (room or [2])[0] else 1 << 60

    def call(executor: Any, *args: Any, **kwargs: Any) -> Any:
        room.pop(0)
        return executor(*args, **kwargs)

    options = DeepCache(interval=INTERVAL, forecast="verbatim")
    model = oracle.inside(sampling.speed_up(scene.tiny.model, cache=options))
    model.add_object_patch("memory_required", needed)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "room", call)
    scene.drawing(studio.core, replace(scene.tiny, model=model), "euler")
    assert oracle.kinds == "FFF" + "FFrr" + "rrr" + "FFF"
    assert sampling.speedup_of(model).record.latest.log.kinds == oracle.kinds
