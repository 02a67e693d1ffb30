"""Features in host memory on a CUDA device: the same latents, page-locked memory, and none of it left behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstep import DeepCache, RunReport, speed_up
from skipstep.deepcache import DeepCacheSession, FeatureStore, LinearForecast, UniformSchedule
from skipstep.deepcache._host import LARGEST_WASTE
from skipstep.demo import load_demo_sdxl

pytestmark = pytest.mark.gpu

MIB = 2**20
OPTIONS = [
    DeepCache(forecast="verbatim"),
    DeepCache(forecast="linear"),
    DeepCache(forecast="quadratic"),
    DeepCache(tolerance=0.2),
    DeepCache(passes=(None, None, 0, 3, 0, None, 3, 3, None, 0)),
]


def drawn(pipe: Any, options: DeepCache) -> tuple[Tensor, RunReport]:
    with speed_up(pipe, options) as run:
        seed = torch.Generator().manual_seed(0)
        latents: Tensor = pipe(
            "a fox on a blue background", num_inference_steps=10, generator=seed, output_type="latent"
        ).images
    return latents, run.report


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = load_demo_sdxl(torch.float16).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_picture_is_the_same_from_host_memory(pipe: Any, options: DeepCache, prefetch: bool) -> None:
    expected, staying = drawn(pipe, options)
    for _ in range(3):  # a copy that came too late would not do so every time
        latents, moving = drawn(pipe, replace(options, feature_device="cpu", prefetch=prefetch))
        assert torch.equal(latents, expected)
    assert moving.passes == staying.passes
    assert staying.host_bytes == 0 < moving.host_bytes
    assert moving.cache_bytes <= staying.cache_bytes
    assert prefetch or moving.cache_bytes == 0


def test_calibration_is_the_same_from_host_memory(pipe: Any) -> None:
    made: list[list[Tensor]] = []
    for where in ({}, {"feature_device": "cpu"}):
        with speed_up(pipe, DeepCache(forecast="calibrated", **where)):
            made.append([])
            for _ in range(2):
                seed = torch.Generator().manual_seed(0)
                call = {"num_inference_steps": 10, "generator": seed, "output_type": "latent"}
                made[-1].append(pipe("a fox", **call).images)
    assert all(torch.equal(one, other) for one, other in zip(*made, strict=True))


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("dtype", ["same", "float16"])
def test_the_bytes_are_those_of_both_allocators(dtype: str, prefetch: bool) -> None:
    torch.cuda.synchronize()
    torch.empty(1, pin_memory=True)  # lets the allocator see what is done
    device, host = torch.cuda.memory_allocated(), _pinned()
    tensor = torch.randn(50, 32, 72, 128, device="cuda")  # 59 MB, and as much in one power of two would be 67
    expected = tensor.clone()
    place = FeatureStore(dtype, "cpu", prefetch=prefetch).put(tensor)
    assert all(piece.is_pinned() for piece in getattr(place, "_place", place)._pieces)
    del tensor
    nbytes = expected.nbytes // (1 if dtype == "same" else 2)
    assert nbytes <= place.host_bytes <= nbytes * (1 + 1 / LARGEST_WASTE)
    assert _pinned() - host == place.host_bytes
    near = torch.cuda.memory_allocated() - device - expected.nbytes
    assert abs(near - place.device_bytes) <= 2 * MIB  # the allocator's blocks
    place.release()
    torch.cuda.synchronize()
    torch.empty(1, device="cuda")  # lets the allocator see what is done
    assert torch.cuda.memory_allocated() - device - expected.nbytes <= 2 * MIB
    for _ in range(3):
        place.bring()
        taken = place.get()
        assert torch.equal(taken, expected if dtype == "same" else expected.half().float())
        place.release()
    del place, taken, expected
    torch.cuda.synchronize()
    torch.empty(1, device="cuda")
    assert torch.cuda.memory_allocated() <= device + MIB


def _pinned() -> int:
    return int(torch.cuda.host_memory_stats().get("active_bytes.current", 0))


def test_copies_do_not_make_the_host_wait_and_are_in_order() -> None:
    """Much work is queued between the copies; a copy that did not wait for it would read or write too early."""
    store = FeatureStore(device="cpu")
    work = torch.randn(4096, 4096, device="cuda")
    for turn in range(5):
        tensor = torch.zeros(64 * MIB // 4, device="cuda")
        for _ in range(20):
            work = (work @ work).clamp(-1, 1)
        tensor += turn + 1 + 0 * work[0, 0]
        place = store.put(tensor)
        del tensor
        place.release()
        other = torch.full((64 * MIB // 4,), -1.0, device="cuda")  # may get the memory, once it is free
        place.bring()
        for _ in range(20):
            work = (work @ work).clamp(-1, 1)
        assert bool((place.get() == turn + 1).all())
        assert bool((other == -1).all())


def test_host_memory_lowers_the_peak_of_a_full_pass() -> None:
    """A line holds one tensor beside a full pass where features stay, and none where they are in host memory."""
    nbytes = 256 * MIB

    class Split:
        def full(self, sample: Tensor) -> tuple[Tensor, Tensor]:
            passes = [torch.empty(nbytes, dtype=torch.uint8, device="cuda") for _ in range(4)]
            return sample, passes[0].fill_(1).view(torch.float16)

        def reuse(self, features: Tensor, sample: Tensor) -> Tensor:
            return sample + features[0]

    peaks = {}
    for device in ("same", "cpu"):
        session = DeepCacheSession(Split(), UniformSchedule(3), LinearForecast(), store=FeatureStore(device=device))
        sample = torch.zeros(1, device="cuda", dtype=torch.float16)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(7):
            session("key", sample)
            torch.cuda.synchronize()
        peaks[device] = torch.cuda.max_memory_allocated() - before
        session.close()
    assert peaks["same"] - peaks["cpu"] == pytest.approx(nbytes, rel=0.05)
