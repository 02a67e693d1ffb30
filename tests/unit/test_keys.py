"""What must never share features within a run, and that nothing of a run outlives it."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from models import TinyUNet, tiny_unet
from runs import record_passes
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.errors import UnsupportedModelError

FIRST_ONLY = DeepCache(full_evaluations=(0,), forecast="verbatim")


class Loop:
    """A pipeline of nothing but a UNet, called by hand; every call is a step of its own."""

    def __init__(self, tiny: TinyUNet) -> None:
        self.tiny = tiny
        self.host = SimpleNamespace(unet=tiny.unet)
        self.context: Tensor = tiny.inputs(0)[0][2]

    @torch.no_grad()
    def step(self, *, size: tuple[int, int] = (16, 16), context: Tensor | None = None) -> Tensor:
        (latents, timestep, _), kwargs = self.tiny.inputs(0, size)
        context = self.context if context is None else context
        output: Tensor = self.host.unet(latents, timestep, context, **kwargs)[0]
        return output


@pytest.fixture
def loop() -> Loop:
    return Loop(tiny_unet("sd15"))


def test_one_conditioning_at_one_size_is_one_key(loop: Loop) -> None:
    with speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        for _ in range(4):
            loop.step()
    assert passes == ["Frrr"]


def test_another_size_is_another_key(loop: Loop) -> None:
    with speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        for size in ((16, 16), (17, 13), (16, 16), (17, 13)):
            loop.step(size=size)
    assert passes == ["FFrr"]


def test_a_conditioning_written_in_place_is_another_key(loop: Loop) -> None:
    with speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        loop.step()
        loop.step()
        loop.context.add_(1)
        expected = loop.tiny.unet(*loop.tiny.inputs(0)[0][:2], loop.context, return_dict=False)[0]
        assert torch.equal(loop.step(), expected)
    assert passes == ["FrF"]


def test_a_conditioning_in_inference_mode_is_one_key(loop: Loop) -> None:
    with torch.inference_mode(), speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        context = loop.context + 1
        for _ in range(2):
            loop.step(context=context)
    assert passes == ["Fr"]


def test_memory_that_is_given_to_another_conditioning_is_not_taken_for_the_first(loop: Loop) -> None:
    with speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        for number in range(12):  # each is freed, if not held, before the next is made
            loop.step(context=loop.context + number)
        assert run._session is not None
        tensor = 2 * 8 * 16 * 16 * 4
        assert run._session.cache_bytes == 8 * tensor  # features of the latest few only
    assert passes == ["F" * 12]


def test_a_timestep_may_be_a_number(loop: Loop) -> None:
    with torch.no_grad(), speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        (latents, _, context), kwargs = loop.tiny.inputs(0)
        for timestep in (900, 900, 880, 880):  # two calls a step
            loop.host.unet(latents, timestep, encoder_hidden_states=context, **kwargs)
    assert passes == ["FFrr"]


def test_the_samplers_own_index_tells_two_calls_of_one_step(loop: Loop) -> None:
    loop.host.scheduler = SimpleNamespace(step_index=None, timesteps=None, order=1)
    with speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        for index in (0, 0, 1, 1):  # each call makes a new timestep tensor
            loop.host.scheduler.step_index = index
            loop.step()
    assert passes == ["FFrr"]


def test_a_call_without_a_conditioning_is_refused(loop: Loop) -> None:
    (latents, timestep, _), kwargs = loop.tiny.inputs(0)
    with speed_up(loop.host, FIRST_ONLY), pytest.raises(UnsupportedModelError, match="without encoder_hidden_states"):
        loop.host.unet(latents, timestep=timestep, encoder_hidden_states=None, **kwargs)


def test_a_finished_run_holds_no_tensor_of_it(loop: Loop) -> None:
    with speed_up(loop.host, FIRST_ONLY) as run:
        context = loop.context + 1
        held = weakref.ref(context)
        loop.step(context=context)
        del context
        gc.collect()
        assert held() is not None  # while the run lasts, its memory must not be given to another
        loop.host.unet._reset_stateful_cache()  # as pipelines do when they return
        gc.collect()
        assert held() is None
        assert run._split._split._slot.features is None


def test_a_hook_on_the_unet_itself_acts_on_both_passes(loop: Loop) -> None:
    class Scale(ModelHook):  # type: ignore[misc]
        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            named = dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=False)) | kwargs
            return (), {**named, "sample": named["sample"] * 0.5}

        def post_forward(self, module: Any, output: Any) -> Any:
            return (output[0] * 3,)

    without = loop.tiny(0)
    add_hook_to_module(loop.tiny.unet, Scale())
    expected = loop.tiny(0)
    assert not torch.equal(expected, without)
    with speed_up(loop.host, FIRST_ONLY) as run:
        passes = record_passes(run)
        for _ in range(2):
            assert torch.equal(loop.step(), expected)
    assert passes == ["Fr"]
