"""Costs of branches told before anything runs, against real passes and published sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import TinyUNet, sd15_unet, sdxl_pipeline, sdxl_unet, svd_pipeline, svd_unet
from runs import sample, sample_video
from torch import nn

from skipstep.bench.random_unets import random_unet
from skipstep.deepcache import (
    DiffusersUNetSplit,
    InputShapes,
    branch_costs,
    image_inputs,
    video_inputs,
)
from skipstep.deepcache.flops import count_flops
from skipstep.errors import BranchError, UnsupportedModelError


@torch.no_grad()
def test_the_costs_are_those_of_the_passes_one_by_one(tiny: TinyUNet) -> None:
    args, kwargs = tiny.inputs(0)
    shapes = InputShapes.of(args, kwargs)
    costs = branch_costs(tiny.unet, shapes, (0, 2, 5, tiny.skips - 1))
    for cost in costs:
        _, features = DiffusersUNetSplit(tiny.unet, cost.branch).full(*args, **kwargs)
        assert cost.feature_bytes == features.nbytes
    alone = count_flops(type(tiny.unet).from_config(tiny.unet.config), 5, shapes)  # another UNet: not counted yet
    assert alone is not None
    assert costs[2].reuse_share == alone.reuse / alone.full
    shares = [cost.reuse_share for cost in costs]
    assert shares == sorted(set(shares))
    assert 0 < shares[0] < shares[-1] < 1


def test_only_the_branches_asked_for_are_counted_and_bad_ones_refused(tiny_sdxl: TinyUNet) -> None:
    shapes = InputShapes.of(*tiny_sdxl.inputs(0))
    assert [cost.branch for cost in branch_costs(tiny_sdxl.unet, shapes, (4, 0))] == [4, 0]
    assert [cost.branch for cost in branch_costs(tiny_sdxl.unet, shapes)] == list(range(9))
    with pytest.raises(BranchError, match=r"branch must be 0\.\.8"):
        branch_costs(tiny_sdxl.unet, shapes, (0, 9))
    with pytest.raises(UnsupportedModelError, match="Linear has no down_blocks"):
        branch_costs(nn.Linear(2, 2), shapes)


@pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")
@pytest.mark.parametrize("kind", ["image", "video"])
def test_the_inputs_are_those_of_the_pipelines(kind: str) -> None:
    pipe = sdxl_pipeline() if kind == "image" else svd_pipeline()
    calls: list[InputShapes] = []
    pipe.unet.register_forward_pre_hook(lambda _, *call: calls.append(InputShapes.of(*call)), with_kwargs=True)
    if kind == "image":
        sample(pipe, steps=1, height=48, width=32)
        made = image_inputs(pipe.unet, batch=2, height=48, width=32, scale=2)
    else:
        sample_video(pipe, steps=1, num_frames=3, height=32, width=48)
        made = video_inputs(pipe.unet, batch=2, frames=3, height=32, width=48, scale=2)
    real = branch_costs(pipe.unet, calls[0], (0, 3))
    assert [cost.feature_bytes for cost in branch_costs(pipe.unet, made, (0, 3))] == [x.feature_bytes for x in real]
    made_args, made_kwargs = made.empty_beside(torch.empty(0, device="meta"))
    real_args, real_kwargs = calls[0].empty_beside(torch.empty(0, device="meta"))
    assert made_args[0].shape == real_args[0].shape
    names = {"added_cond_kwargs", "added_time_ids"} & set(made_kwargs)
    for name in names:
        given, wanted = made_kwargs[name], real_kwargs[name]
        if isinstance(given, dict):
            assert {key: value.shape for key, value in given.items()} == {key: x.shape for key, x in wanted.items()}
        else:
            assert given.shape == wanted.shape
    assert len(names) == 1


@pytest.mark.parametrize(
    ("build", "dtype"), [(sd15_unet, torch.float64), (sdxl_unet, torch.bfloat16), (svd_unet, torch.float16)]
)
def test_a_unet_of_any_type_and_without_weights_is_counted(build: Any, dtype: torch.dtype) -> None:
    def costs(unet: Any) -> Any:
        is_video = "Spatio" in type(unet).__name__
        size = {"batch": 2, "height": 128, "width": 128}
        shapes = video_inputs(unet, frames=2, **size) if is_video else image_inputs(unet, **size)
        return branch_costs(unet, shapes, (2,))

    unet = build()
    single = costs(unet)
    unet.to(dtype)
    typed = costs(unet)
    unet.conv_in.to("meta")
    assert costs(unet) == typed  # spread over devices
    unet.to("meta")
    assert costs(unet) == typed
    assert [cost.reuse_share for cost in typed] == [cost.reuse_share for cost in single]
    width = torch.empty(0, dtype=dtype).element_size()
    assert [cost.feature_bytes * 4 for cost in typed] == [cost.feature_bytes * width for cost in single]
    assert all(parameter.is_meta for parameter in unet.parameters())


def test_svd_at_its_full_size_stores_295_megabytes_and_takes_8_per_cent() -> None:
    unet = random_unet("svd", device=torch.device("meta"), dtype=torch.float16)
    (cost,) = branch_costs(unet, video_inputs(unet, batch=2, frames=25, height=576, width=1024), (0,))
    assert cost.feature_bytes == 2 * 25 * 320 * 72 * 128 * 2 == 294_912_000
    assert round(100 * cost.reuse_share, 1) == 8.5


def test_a_unet_that_takes_something_else_is_refused() -> None:
    image, video = sdxl_unet(), svd_unet()
    with pytest.raises(UnsupportedModelError, match="UNetSpatioTemporalConditionModel is no UNet of .* for pictures"):
        image_inputs(video, batch=1, height=64, width=64)
    with pytest.raises(UnsupportedModelError, match="UNet2DConditionModel is no UNet of diffusers for video"):
        video_inputs(image, batch=1, frames=2, height=64, width=64)
    with pytest.raises(UnsupportedModelError, match="Linear is no UNet of diffusers for pictures .*; give InputShapes"):
        image_inputs(nn.Linear(1, 1), batch=1, height=64, width=64)
    for name, value in (("addition_embed_type", "image"), ("class_embed_type", "timestep"), ("num_class_embeds", 9)):
        other = sd15_unet()
        other.register_to_config(**{name: value})
        with pytest.raises(UnsupportedModelError, match="takes more than text and sizes"):
            image_inputs(other, batch=1, height=64, width=64)


def test_a_conditioning_width_may_be_given_for_every_block() -> None:
    unet = sd15_unet()
    expected = repr(image_inputs(unet, batch=1, height=64, width=64))
    unet.register_to_config(cross_attention_dim=(unet.config.cross_attention_dim,) * 4)
    assert repr(image_inputs(unet, batch=1, height=64, width=64)) == expected
