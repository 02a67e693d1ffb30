"""The FLOP counts against torch's own counter, a count by hand, and the published size of SDXL."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from models import POOLED, TinyUNet, sdxl_unet, tiny_unet
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from skipstep.deepcache import DiffusersUNetSplit, PassFlops, flops
from skipstep.deepcache.flops import BranchCount, InputShapes, count_flops


@torch.no_grad()
def test_the_counts_are_those_of_the_real_passes(tiny: TinyUNet) -> None:
    split = DiffusersUNetSplit(tiny.unet, 4)
    args, kwargs = tiny.inputs(0)
    with sdpa_kernel(SDPBackend.MATH):  # attention as matrix products, which the counter knows
        with FlopCounterMode(display=False) as plain:
            tiny.unet(*args, **kwargs)
        _, features = split.full(*args, **kwargs)
        with FlopCounterMode(display=False) as reuse:
            split.reuse(features, *args, **kwargs)
    counted = count_flops(tiny.unet, 4, InputShapes.of(args, kwargs))
    assert counted == PassFlops(full=plain.get_total_flops(), reuse=reuse.get_total_flops())
    assert 0 < counted.reuse < counted.full


def test_a_reuse_pass_at_branch_0_is_what_it_is_by_hand(tiny_sdxl: TinyUNet) -> None:
    positions, batch = 16 * 16, 2
    embeddings = 8 * 32 + 32 * 32 + (POOLED + 6 * 8) * 32 + 32 * 32  # time, then size and pooled text
    conv_in, conv_out = 4 * 8 * 9, 8 * 4 * 9
    resnet = 16 * 8 * 9 + 8 * 8 * 9 + 16 * 8  # on the features and the skip together, with a shortcut
    expected = 2 * batch * (embeddings + 32 * 8 + positions * (conv_in + resnet + conv_out))
    counted = count_flops(tiny_sdxl.unet, 0, InputShapes.of(*tiny_sdxl.inputs(0)))
    assert counted is not None
    assert counted.reuse == expected


def test_nothing_is_run_and_nothing_is_kept() -> None:
    unet = sdxl_unet()
    calls: list[Any] = []
    for module in unet.modules():
        module.register_forward_hook(lambda *_: calls.append(1))
        module.register_forward_pre_hook(lambda *_: calls.append(1))
    unet._hf_hook = "of accelerate"
    unet.conv_in.forward = lambda *_: calls.append(1)
    tiny = TinyUNet("sdxl", unet, 9, ((16, 16),), lambda _: {})
    args, kwargs = tiny.inputs(0)
    kwargs["added_cond_kwargs"] = {"text_embeds": torch.zeros(2, POOLED), "time_ids": torch.ones(2, 6)}
    assert count_flops(unet, 0, InputShapes.of(args, kwargs)) is not None
    assert calls == []
    assert len(unet._forward_hooks) == 1


def test_the_shapes_of_a_call_hold_none_of_its_tensors(tiny_sdxl: TinyUNet) -> None:
    args, kwargs = tiny_sdxl.inputs(0)
    shapes = InputShapes.of(args, {**kwargs, "residuals": [args[0]], "nothing": None})
    made_args, made_kwargs = shapes.empty_beside(torch.empty(1, dtype=torch.float64, device="meta"))
    assert [made.shape for made in made_args] == [given.shape for given in args]
    assert made_args[1].dtype == args[1].dtype == torch.int64
    assert made_args[0].dtype == torch.float64  # as precise as the weights, whatever the call was
    assert made_kwargs["residuals"][0].is_meta
    assert made_kwargs["nothing"] is None
    assert made_kwargs["return_dict"] is False


def test_a_unet_is_counted_once_for_the_same_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, counts = tiny_unet("sd15"), []

    def count(_: Any, branches: tuple[int, ...], *__: Any) -> dict[int, BranchCount]:
        counts.append(1)
        return {branch: BranchCount(flops=PassFlops(full=2, reuse=1), feature_bytes=4) for branch in branches}

    monkeypatch.setattr(flops, "_count", count)
    for size, branch in (((16, 16), 0), ((16, 16), 0), ((17, 13), 0), ((16, 16), 1)):
        assert count_flops(tiny.unet, branch, InputShapes.of(*tiny.inputs(0, size))) is not None
    assert len(counts) == 3
    count_flops(tiny_unet("sd15").unet, 0, InputShapes.of(*tiny.inputs(0)))  # another UNet of the same shape
    assert len(counts) == 4


def test_without_weights_in_place_nothing_is_counted(tiny_sdxl: TinyUNet) -> None:
    assert count_flops(sdxl_unet().to("meta"), 0, InputShapes.of(*tiny_sdxl.inputs(0))) is None


def sdxl_without_memory() -> Any:
    """The real SDXL UNet with each weight a single number seen as a whole tensor."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            transformer_layers_per_block=(1, 2, 10),
            projection_class_embeddings_input_dim=2816,
            cross_attention_dim=2048,
            sample_size=128,
        )
    for module in unet.modules():
        for name, weight in module.named_parameters(recurse=False):
            number = torch.zeros((), dtype=torch.float16).expand(weight.shape)
            setattr(module, name, nn.Parameter(number, requires_grad=False))
    return unet


@pytest.mark.slow
def test_the_real_sdxl_takes_13_52_teraflop_and_1_45_per_cent_of_that() -> None:
    unet = sdxl_without_memory()
    assert sum(weight.numel() for weight in unet.parameters()) == 2_567_463_684
    half = {"dtype": torch.float16, "device": "meta"}
    pooled, sizes = torch.empty(2, 1280, **half), torch.empty(2, 6, **half)
    shapes = InputShapes.of(
        (torch.empty(2, 4, 128, 128, **half), torch.tensor(1), torch.empty(2, 77, 2048, **half)),
        {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}, "return_dict": False},
    )
    counted = count_flops(unet, 0, shapes)
    assert counted is not None
    assert round(counted.full / 1e12, 2) == 13.52
    assert round(100 * counted.reuse / counted.full, 2) == 1.45
