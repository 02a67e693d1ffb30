"""What the cache costs beside the UNet's own work, and what it gains of what FLOPs allow."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.models import Sampling, TinySDXL, draw, empty_latent

if TYPE_CHECKING:
    from host.process import Core, Pack

STEPS = 30
ROUNDS = 3


@pytest.fixture
def sampling(pack: Pack) -> Any:
    """The pack's `sampling` package."""
    return pack.module("comfy_nodes.sampling")


class Instant:
    """A split whose passes take no time, and tell how little."""

    branch = 0

    def __init__(self) -> None:
        self.spent: list[float] = []

    def full(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.reuse(x, x), x

    def reuse(self, features: torch.Tensor, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        start = time.perf_counter()
        output = torch.zeros_like(x)
        self.spent.append(time.perf_counter() - start)
        return output


def test_an_evaluation_costs_less_than_a_millisecond(
    core: Core, comfy_sdxl: TinySDXL, sampling: Any, record_property: Any
) -> None:
    from comfy.patcher_extension import WrappersMP

    from skipstep.deepcache import DeepCache

    instant, around = Instant(), []

    def outside(executor: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        output = executor(*args, **kwargs)
        around.append(time.perf_counter() - start)
        return output

    model = comfy_sdxl.model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "outside", outside)
    model = sampling.speed_up(model, cache=DeepCache(interval=3), compiler=lambda *_: instant)
    draw(core, replace(comfy_sdxl, model=model), sampling=Sampling(steps=STEPS))
    assert len(around) == len(instant.spent) == STEPS
    overhead = median(total - inner for total, inner in zip(around, instant.spent, strict=True))
    record_property("overhead_us", round(1e6 * overhead))
    assert overhead < 1e-3


def flop_ceiling(unet: Any, side: int) -> float:
    """What interval 3 gains at most, by FLOPs counted on real passes."""
    from torch.utils.flop_counter import FlopCounterMode

    from skipstep.deepcache import LdmUNetSplit

    split = LdmUNetSplit(unet, 0)
    inputs = {
        "x": torch.randn(2, 4, side, side),
        "timesteps": torch.full((2,), 500.0),
        "context": torch.randn(2, 77, 64),
        "y": torch.randn(2, unet.label_emb[0][0].in_features),
        "transformer_options": {},
    }
    with torch.inference_mode(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        with FlopCounterMode(display=False) as full:
            _, features = split.full(**inputs)
        with FlopCounterMode(display=False) as reuse:
            split.reuse(features, **inputs)
    share = reuse.get_total_flops() / full.get_total_flops()
    return 3 / (1 + 2 * share)


@pytest.mark.slow
def test_time_follows_flops(core: Core, comfy_sdxl: TinySDXL, sampling: Any, record_property: Any) -> None:
    """In CPU time of this process, so that other work on the machine counts for nothing."""
    from skipstep.deepcache import DeepCache

    cached = replace(comfy_sdxl, model=sampling.speed_up(comfy_sdxl.model, cache=DeepCache(interval=3)))
    side = 64
    latent = empty_latent(width=8 * side, height=8 * side)
    draw(core, comfy_sdxl, latent=latent, sampling=Sampling(steps=1))
    ratios = []
    for turn in range(ROUNDS):
        spent = {}
        for tiny in (comfy_sdxl, cached) if turn % 2 else (cached, comfy_sdxl):
            start = time.process_time()
            draw(core, tiny, latent=latent, sampling=Sampling(steps=9))
            spent[id(tiny)] = time.process_time() - start
        ratios.append(spent[id(comfy_sdxl)] / spent[id(cached)])
    ceiling = flop_ceiling(comfy_sdxl.model.model.diffusion_model, side)
    record_property("time_ratio", f"{median(ratios):.3f} of {ceiling:.3f}")
    assert median(ratios) >= 0.9 * ceiling
