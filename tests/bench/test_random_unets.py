"""Random UNets: the published sizes and shapes, without the memory for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from skipstep.bench.loop import UNetLoop
from skipstep.bench.random_unets import UNETS, random_unet
from skipstep.deepcache import count_skips
from skipstep.errors import OptionError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "millions", "skips"),
    [("sdxl", 2567, 9), ("svd", 1525, 12), ("sd15", 860, 12), ("sdxl-72m", 72, 9), ("sdxl-tiny", 0.2, 9)],
)
def test_full_size_unets_are_the_published_ones(name: str, millions: float, skips: int) -> None:
    unet = random_unet(name, device=torch.device("meta"), dtype=torch.float16)
    weights = list(unet.parameters())
    assert sum(weight.numel() for weight in weights) / 1e6 == pytest.approx(millions, abs=0.5)
    assert count_skips(unet) == skips
    assert {weight.dtype for weight in weights} == {torch.float16}
    assert not any(weight.requires_grad for weight in weights)
    assert not unet.training


def test_a_seed_fixes_the_weights() -> None:
    def weights(seed: int) -> Any:
        return random_unet("sdxl-tiny", device=CPU, dtype=torch.float32, seed=seed).state_dict()

    one, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["conv_in.weight"], other["conv_in.weight"])


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(OptionError, match=f"the UNet must be one of {', '.join(UNETS)}, got 'flux'"):
        random_unet("flux", device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(
    ("name", "frames", "shape"),
    [("sdxl-tiny", None, (1, 4, 8, 16)), ("svd-tiny", None, (1, 14, 4, 8, 16)), ("svd-tiny", 2, (1, 2, 4, 8, 16))],
)
def test_a_loop_ends_with_latents_that_its_seed_fixes(name: str, frames: int | None, shape: tuple[int, ...]) -> None:
    loop = UNetLoop(name, width=128, height=64, frames=frames, guidance_scale=3.0, device=CPU, dtype=torch.float32)
    calls: list[tuple[int, ...]] = []
    loop.unet.register_forward_pre_hook(lambda _, args: calls.append(tuple(args[0].shape)))
    one, again, other = (loop(steps=2, seed=seed) for seed in (0, 0, 1))
    assert tuple(one.shape) == shape
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    channels = shape[-3] * (2 if UNETS[name].video else 1)  # a video's UNet takes the first frame's latents beside
    assert calls == [(2, *shape[1:-3], channels, *shape[-2:])] * 6  # guidance in one batch of two
