"""Ours against DeepCache 0.1.1, the paper authors' own package: equal where it is right, and right where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from DeepCache import DeepCacheSDHelper
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler
from models import sd15_pipeline, sdxl_pipeline, svd_pipeline
from runs import record_passes, sample, sample_video
from torch import Tensor

from skipstep import DeepCache, speed_up

# eight evaluations are enough to compare two programs, if not for a picture
pytestmark = pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")


@contextmanager
def helper(pipe: Any, *, interval: int, branch: int) -> Iterator[None]:
    """DeepCache's own reuse on `pipe`."""
    oracle = DeepCacheSDHelper(pipe=pipe)
    oracle.set_params(cache_interval=interval, cache_branch_id=branch)
    oracle.enable()
    yield
    oracle.disable()


def verbatim(interval: int, branch: int) -> DeepCache:
    return DeepCache(interval=interval, branch=branch, forecast="verbatim")


@contextmanager
def full_passes(pipe: Any) -> Iterator[list[int]]:
    """A list that grows by one at each pass that runs the middle of the UNet."""
    calls: list[int] = []
    unet = pipe.unet
    handle = unet.mid_block.resnets[0].register_forward_hook(lambda *_: calls.append(1))
    yield calls
    handle.remove()


def error(output: Tensor, expected: Tensor) -> float:
    return float((output - expected).abs().mean())


@pytest.fixture(scope="session", params=["sd15", "sdxl"])
def with_plain_output(request: pytest.FixtureRequest) -> tuple[Any, Tensor]:
    """A pipeline and what it makes on its own."""
    pipe = {"sd15": sd15_pipeline, "sdxl": sdxl_pipeline}[request.param]()
    return pipe, sample(pipe, steps=8)


BRANCHES = [(name, branch) for name, skips in {"sd15": 12, "sdxl": 9}.items() for branch in range(skips)]


@pytest.mark.parametrize(("interval", "passes"), [(2, "FrFrFrFr"), (3, "FrrFrrFr")])
@pytest.mark.parametrize(("with_plain_output", "branch"), BRANCHES, indirect=["with_plain_output"])
def test_verbatim_reuse_is_that_of_deepcache(
    with_plain_output: tuple[Any, Tensor], branch: int, interval: int, passes: str
) -> None:
    pipe, plain = with_plain_output
    with speed_up(pipe, verbatim(interval, branch)) as run:
        kinds = record_passes(run)
        ours = sample(pipe, steps=8)
    assert kinds == [passes]
    with helper(pipe, interval=interval, branch=branch):
        theirs = sample(pipe, steps=8)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, plain)


@pytest.mark.parametrize("scheduler", [DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_it_is_that_of_deepcache_under_other_samplers(scheduler: Any) -> None:
    pipe = sd15_pipeline()
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    with speed_up(pipe, verbatim(3, 1)):
        ours = sample(pipe, steps=8)
    with helper(pipe, interval=3, branch=1):
        assert torch.equal(ours, sample(pipe, steps=8))


def test_it_is_that_of_deepcache_on_video() -> None:
    pipe = svd_pipeline()
    with speed_up(pipe, verbatim(3, 0)):
        ours = sample_video(pipe, steps=8)
    with helper(pipe, interval=3, branch=0):
        theirs = sample_video(pipe, steps=8)
    assert ours.std() > 0.1
    assert torch.equal(ours, theirs)


def test_a_linear_forecast_is_not_verbatim_reuse() -> None:
    pipe = sd15_pipeline()
    with speed_up(pipe, DeepCache(interval=3, branch=0, forecast="linear")):
        ours = sample(pipe, steps=8)
    with helper(pipe, interval=3, branch=0):
        assert not torch.equal(ours, sample(pipe, steps=8))


def test_heun_where_the_helper_never_refreshes() -> None:
    # it looks the timestep up among duplicates and finds the first: indices 0, 1, 1, 3, 3, ... are never even again
    pipe = sd15_pipeline()
    pipe.scheduler = HeunDiscreteScheduler.from_config(pipe.scheduler.config)
    with helper(pipe, interval=2, branch=0), full_passes(pipe) as theirs:
        stale = sample(pipe, steps=8)
    with full_passes(pipe) as ours, speed_up(pipe, verbatim(2, 0)) as run:
        passes = record_passes(run)
        fresh = sample(pipe, steps=8)
    assert len(theirs) == 1
    assert passes == ["FrFrFrFrFrFrFrF"]
    assert len(ours) == 8
    plain = sample(pipe, steps=8)
    assert error(fresh, plain) < error(stale, plain)


def test_a_second_image_to_image_call_where_the_helper_keeps_the_first_ones_cache() -> None:
    pipe = sd15_pipeline("img2img")
    first, second = {"steps": 8, "strength": 1.0, "seed": 1}, {"steps": 8, "strength": 0.5, "seed": 2}
    with helper(pipe, interval=3, branch=0):
        oracle = sample(pipe, **second)
    with helper(pipe, interval=3, branch=0):
        sample(pipe, **first)
        stale = sample(pipe, **second)
    with speed_up(pipe, verbatim(3, 0)) as run:
        passes = record_passes(run)
        sample(pipe, **first)
        fresh = sample(pipe, **second)
    assert passes == ["FrrFrrFr", "FrrF"]
    assert torch.equal(fresh, oracle)
    assert not torch.equal(stale, oracle)
    plain = sample(pipe, **second)
    assert error(fresh, plain) < error(stale, plain)


def test_a_change_of_batch_size_where_the_helper_fails() -> None:
    pipe = sd15_pipeline("img2img")
    one, two = {"steps": 8, "strength": 1.0}, {"steps": 8, "strength": 0.5, "batch": 2}
    with helper(pipe, interval=3, branch=0):
        oracle = sample(pipe, **two)
    with helper(pipe, interval=3, branch=0):
        sample(pipe, **one)
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            sample(pipe, **two)
    with speed_up(pipe, verbatim(3, 0)):
        sample(pipe, **one)
        assert torch.equal(sample(pipe, **two), oracle)


def test_guidance_switched_off_mid_run_where_the_helper_fails() -> None:
    def without_guidance(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == 3:
            pipe._guidance_scale = 0.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[1]
        return tensors

    pipe = sd15_pipeline()
    tensors = ["latents", "prompt_embeds"]
    call = {"callback_on_step_end": without_guidance, "callback_on_step_end_tensor_inputs": tensors}
    with helper(pipe, interval=3, branch=0), pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        sample(pipe, steps=8, **call)
    with speed_up(pipe, verbatim(3, 0)) as run:
        passes = record_passes(run)
        ours = sample(pipe, steps=8, **call)
    assert passes == ["FrrF" + "FrrF"]  # the halved batch is another key and starts anew
    assert torch.isfinite(ours).all()
    assert not torch.equal(ours, sample(pipe, steps=8))
