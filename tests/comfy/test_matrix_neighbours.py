"""Beside what else wraps a model's sampling: ComfyUI's own caches, and nodes of other packs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host.drawings import ksampler
from host.scenes import SCENES, Studio
from host.witness import expected_passes

from skipstep.deepcache import DeepCache

STEPS = 6
CACHES = {
    "EasyCache": {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0, "verbose": False},
    "LazyCache": {"reuse_threshold": 0.5, "start_percent": 0.0, "end_percent": 1.0, "verbose": False},
}
Change = Callable[[Any], Any]
drawing = ksampler(steps=STEPS)


@pytest.fixture(params=["before", "after"])
def order(request: pytest.FixtureRequest) -> str:
    """Where the other node stands."""
    return str(request.param)


def both(order: str, other: Change, ours: Change, model: Any) -> Any:
    """The model behind both nodes."""
    return ours(other(model)) if order == "before" else other(ours(model))


def drawn(studio: Studio, model: Any) -> torch.Tensor:
    """A picture."""
    return drawing(studio.core, replace(studio.sdxl, model=model), "euler")


def step_skipper(studio: Studio, name: str) -> Change:
    """One of ComfyUI's own caches, which leave out whole evaluations."""
    return lambda model: studio.core.call(name, model=model, **CACHES[name])[0]


@pytest.mark.parametrize("name", CACHES)
def test_nothing_changes_for_the_caches_of_comfyui(studio: Studio, sampling: Any, name: str, order: str) -> None:
    other = step_skipper(studio, name)
    alone = drawn(studio, other(studio.sdxl.model))
    assert not torch.equal(alone, drawn(studio, studio.sdxl.model))
    model = both(order, other, lambda m: sampling.speed_up(m, cache=DeepCache(interval=1)), studio.sdxl.model)
    assert torch.equal(drawn(studio, model), alone)
    assert 1 < len(sampling.speedup_of(model).record.latest.log) < STEPS


@pytest.mark.parametrize("name", CACHES)
def test_both_caches_save(studio: Studio, sampling: Any, name: str, order: str) -> None:
    other = step_skipper(studio, name)

    def ours(model: Any) -> Any:
        return sampling.speed_up(model, cache=DeepCache(interval=3))

    model = both(order, other, ours, studio.sdxl.model)
    first = drawn(studio, model)
    kinds = sampling.speedup_of(model).record.latest.log.kinds
    assert "r" in kinds
    assert len(kinds) < STEPS
    assert torch.equal(drawn(studio, model), first)
    assert not torch.equal(first, drawn(studio, other(studio.sdxl.model)))
    assert not torch.equal(first, drawn(studio, ours(studio.sdxl.model)))


def test_a_controlnet_whose_unet_is_left_out(studio: Studio, sampling: Any, order: str) -> None:
    """It is told of calls that do not come."""
    scene, other = SCENES["controlnet"](studio), step_skipper(studio, "EasyCache")

    def controlled(cache: DeepCache | None) -> torch.Tensor:
        model = scene.tiny.model
        made = other(model) if cache is None else both(order, other, lambda m: sampling.speed_up(m, cache=cache), model)
        return drawing(studio.core, replace(scene.tiny, model=made), "euler")

    alone, reusing = controlled(None), controlled(DeepCache(interval=3))
    assert torch.equal(controlled(DeepCache(interval=1)), alone)
    assert torch.equal(controlled(DeepCache(interval=3)), reusing)
    assert not torch.equal(reusing, alone)


def test_a_full_pass_that_another_cache_left_out_is_made_up_for(studio: Studio, sampling: Any, order: str) -> None:
    """Features are never older than the interval has it."""
    calls = [("both",)] * STEPS
    for left_out in (3, 4):  # the second full pass is due at 3
        calls[left_out] = ()
    evaluation = -1

    def skip(model: Any) -> Any:
        def predict(executor: Any, x: Any, *args: Any) -> Any:
            nonlocal evaluation
            evaluation += 1
            return executor(x, *args) if calls[evaluation] else x

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "skip", predict)
        return model

    model = both(order, skip, lambda m: sampling.speed_up(m, cache=DeepCache(interval=3)), studio.sdxl.model)
    drawn(studio, model)
    kinds = sampling.speedup_of(model).record.latest.log.kinds
    assert kinds == expected_passes(calls, interval=3) == "FrrF"


class Counting:
    """A node of another pack that wraps the UNet: counts its calls and changes what comes out."""

    def __init__(self, times: int = 1) -> None:
        self.count = 0
        self._times = times

    def __call__(self, model: Any) -> Any:
        """A clone of the model."""
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "another pack", self._call)
        return model

    def _call(self, executor: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        outputs = [executor(x * (1 + 0.01 * n), *args, **kwargs) for n in range(self._times)]
        return 1.05 * sum(outputs) / len(outputs)


@pytest.mark.parametrize(("times", "kinds"), [(1, "FrrFrr"), (2, "FFrrrrFFrrrr")])
def test_wrappers_of_other_packs_run_around_both_passes(
    studio: Studio, sampling: Any, order: str, times: int, kinds: str
) -> None:
    counting = Counting(times)
    alone = drawn(studio, counting(studio.sdxl.model))
    assert not torch.equal(alone, drawn(studio, studio.sdxl.model))
    exact = both(order, counting, lambda m: sampling.speed_up(m, cache=DeepCache(interval=1)), studio.sdxl.model)
    assert torch.equal(drawn(studio, exact), alone)
    counting.count = 0
    model = both(order, counting, lambda m: sampling.speed_up(m, cache=DeepCache(interval=3)), studio.sdxl.model)
    first = drawn(studio, model)
    assert counting.count == STEPS
    assert sampling.speedup_of(model).record.latest.log.kinds == kinds
    assert torch.equal(drawn(studio, model), first)
    assert not torch.equal(first, alone)


def test_the_order_of_two_nodes_does_not_matter(studio: Studio, sampling: Any) -> None:
    counting, options = Counting(), DeepCache(interval=3)
    pictures = [
        drawn(studio, both(order, counting, lambda m: sampling.speed_up(m, cache=options), studio.sdxl.model))
        for order in ("before", "after")
    ]
    assert torch.equal(*pictures)


def test_a_guider_that_is_not_asked_in_comfyuis_way(studio: Studio, sampling: Any) -> None:
    """Evaluations are counted by noise level then."""

    class Direct(comfy.samplers.CFGGuider):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.predict_noise(*args, **kwargs)

    def run(model: Any) -> torch.Tensor:
        guider = Direct(model)
        guider.set_conds(studio.sdxl.positive, studio.sdxl.negative)
        guider.set_cfg(4.0)
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        sigmas = torch.tensor([14.0, 8.0, 4.0, 2.0, 1.0, 0.0])
        with torch.inference_mode():
            output: torch.Tensor = guider.sample(
                noise, torch.zeros_like(noise), comfy.samplers.sampler_object("euler"), sigmas, seed=1
            )
        return output

    plain = run(studio.sdxl.model)
    assert torch.equal(run(sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=1))), plain)
    model = sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3))
    assert not torch.equal(run(model), plain)
    assert sampling.speedup_of(model).record.latest.log.kinds == "FrrFr"
