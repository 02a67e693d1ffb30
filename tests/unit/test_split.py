"""The cut UNet against the plain one: exact on the same input, at every branch, and nothing left behind."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from models import TinyUNet, sdxl_unet, tiny_unet
from runs import assert_exact
from torch import Tensor, nn

from skipstep.deepcache import DiffusersUNetSplit, count_skips
from skipstep.errors import BranchError, UnsupportedModelError

pytestmark = pytest.mark.usefixtures("no_grad")


@pytest.fixture(scope="module")
def svd() -> TinyUNet:
    return tiny_unet("svd")


@contextmanager
def leaf_calls(module: nn.Module) -> Iterator[list[nn.Module]]:
    """The leaf modules called inside, one entry per call."""
    calls: list[nn.Module] = []
    leaves = [leaf for leaf in module.modules() if not list(leaf.children())]
    handles = [leaf.register_forward_hook(lambda leaf, *_: calls.append(leaf)) for leaf in leaves]
    yield calls
    for handle in handles:
        handle.remove()


def _footprint(module: nn.Module) -> list[tuple[list[str], list[str], int]]:
    """What can be left on a module and all below it: attributes, children and hooks."""
    return [
        (list(m.__dict__), list(m._modules), len(m._forward_hooks) + len(m._forward_pre_hooks))
        for m in module.modules()
    ]


BRANCHES = [(name, branch) for name, skips in {"sdxl": 9, "sd15": 12, "svd": 12}.items() for branch in range(skips)]


@pytest.mark.parametrize(("tiny", "branch"), BRANCHES, indirect=["tiny"])
def test_both_passes_on_the_same_input_are_the_plain_unet(tiny: TinyUNet, branch: int) -> None:
    split = DiffusersUNetSplit(tiny.unet, branch)
    for size in tiny.sizes:
        expected, other = tiny(0, size), tiny(1, size)
        assert expected.std() > 0.1  # a network of zeros would agree with anything
        assert not torch.equal(expected, other)
        args, kwargs = tiny.inputs(0, size)
        output, features = split.full(*args, **kwargs)
        assert torch.equal(output[0], expected)
        before = features.clone()
        assert torch.equal(split.reuse(features, *args, **kwargs)[0], expected)
        args, kwargs = tiny.inputs(1, size)
        stale = split.reuse(features, *args, **kwargs)[0]
        assert not torch.equal(stale, other)  # the features are used
        assert not torch.equal(stale, expected)  # and so is the input
        assert torch.equal(features, before)


@pytest.mark.parametrize("branch", range(12))
def test_so_they_are_on_clips_of_other_lengths_than_the_configured(branch: int, svd: TinyUNet) -> None:
    assert svd.frames == svd.unet.config.num_frames == 2
    split = DiffusersUNetSplit(svd.unet, branch)
    outputs = []
    for frames in (1, 3):
        clip = replace(svd, frames=frames)
        outputs.append(assert_exact(svd.unet, [branch], lambda clip=clip: clip.inputs(0, (7, 9))))  # type: ignore[misc]
        args, kwargs = clip.inputs(0, (7, 9))
        _, features = split.full(*args, **kwargs)
        assert len(features) == 2 * frames
        args, kwargs = clip.inputs(1, (7, 9))
        assert not torch.equal(split.reuse(features, *args, **kwargs)[0], clip(1, (7, 9)))
    assert not torch.equal(outputs[0], outputs[1][:, :1])  # frames see each other


def test_frames_that_are_pictures_of_their_own_are_so_in_both_passes(svd: TinyUNet) -> None:
    """diffusers marks no frame as such; ComfyUI does, with the argument that this sets."""
    unet = copy.deepcopy(svd.unet)
    seen: list[nn.Module] = []

    def mark(block: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        seen.append(block)
        return args, {**kwargs, "image_only_indicator": torch.ones_like(kwargs["image_only_indicator"])}

    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    for block in blocks:
        block.register_forward_pre_hook(mark, with_kwargs=True)
    output = assert_exact(unet, range(svd.skips), lambda: svd.inputs(0))
    assert set(seen) > {blocks[0]}
    assert not torch.equal(output, svd(0))
    assert torch.equal(output[:, :1], unet(*_first_frame(svd))[0])  # they do not see each other


def _first_frame(svd: TinyUNet) -> tuple[Any, ...]:
    (sample, timestep, states), kwargs = svd.inputs(0)
    return sample[:, :1], timestep, states, kwargs["added_time_ids"], False


def test_the_number_of_skips_is_that_of_the_architecture(tiny: TinyUNet) -> None:
    assert count_skips(tiny.unet) == tiny.skips == len([name for name, _ in BRANCHES if name == tiny.name])


@pytest.mark.parametrize("branch", [0, 4])
def test_arguments_may_be_given_by_position_or_by_name(tiny: TinyUNet, branch: int) -> None:
    split = DiffusersUNetSplit(tiny.unet, branch)
    args, kwargs = tiny.inputs(0)
    named = dict(zip(("sample", "timestep", "encoder_hidden_states"), args, strict=True)) | kwargs
    output, features = split.full(**named)
    assert torch.equal(output[0], tiny(0))
    assert torch.equal(split.reuse(features, **named)[0], tiny(0))
    sample = named.pop("sample")
    assert torch.equal(split.reuse(features, sample, **named)[0], tiny(0))


def test_the_output_has_the_type_that_was_asked_for(tiny: TinyUNet) -> None:
    split = DiffusersUNetSplit(tiny.unet, 1)
    args, kwargs = tiny.inputs(0)
    output, features = split.full(*args, **{**kwargs, "return_dict": True})
    assert torch.equal(output.sample, tiny(0))
    assert torch.equal(split.reuse(features, *args, **{**kwargs, "return_dict": True}).sample, tiny(0))


def test_one_split_serves_many_sizes_in_turn(tiny: TinyUNet) -> None:
    split = DiffusersUNetSplit(tiny.unet, 2)
    features = {size: split.full(*tiny.inputs(0, size)[0], **tiny.inputs(0, size)[1])[1] for size in tiny.sizes}
    for size in tiny.sizes:
        args, kwargs = tiny.inputs(0, size)
        assert torch.equal(split.reuse(features[size], *args, **kwargs)[0], tiny(0, size))


def test_nothing_is_left_on_the_unet_nor_held_by_the_split(tiny: TinyUNet) -> None:
    before = _footprint(tiny.unet)
    for branch in range(tiny.skips):
        split = DiffusersUNetSplit(tiny.unet, branch)
        args, kwargs = tiny.inputs(0)
        _, features = split.full(*args, **kwargs)
        split.reuse(features, *args, **kwargs)
        assert split._slot.features is None
        assert split._tap._features is None
    assert _footprint(tiny.unet) == before
    assert _footprint(nn.Sequential(nn.Linear(1, 1))) != before  # it tells modules apart


def test_the_features_are_let_go_when_a_reuse_pass_fails(tiny_sdxl: TinyUNet) -> None:
    split = DiffusersUNetSplit(tiny_sdxl.unet, 1)
    args, kwargs = tiny_sdxl.inputs(0)
    _, features = split.full(*args, **kwargs)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        split.reuse(features[..., :1, :3], *args, **kwargs)
    assert split._slot.features is None
    assert torch.equal(split.reuse(features, *args, **kwargs)[0], tiny_sdxl(0))


def test_a_reuse_pass_at_branch_0_calls_a_twentieth_of_the_sdxl_shape(tiny_sdxl: TinyUNet) -> None:
    split = DiffusersUNetSplit(tiny_sdxl.unet, 0)
    args, kwargs = tiny_sdxl.inputs(0)
    with leaf_calls(tiny_sdxl.unet) as plain:
        tiny_sdxl(0)
    with leaf_calls(tiny_sdxl.unet) as full:
        _, features = split.full(*args, **kwargs)
    with leaf_calls(tiny_sdxl.unet) as reuse:
        split.reuse(features, *args, **kwargs)
    assert full == plain  # the same modules in the same order, so nothing runs twice
    assert {tiny_sdxl.unet.conv_in, tiny_sdxl.unet.conv_out} < set(reuse) < set(full)
    assert len(reuse) <= 0.05 * len(full), (len(reuse), len(full))


def test_deeper_branches_call_more_and_never_all(tiny: TinyUNet) -> None:
    with leaf_calls(tiny.unet) as plain:
        tiny(0)
    counts = []
    for branch in range(tiny.skips):
        split = DiffusersUNetSplit(tiny.unet, branch)
        args, kwargs = tiny.inputs(0)
        _, features = split.full(*args, **kwargs)
        with leaf_calls(tiny.unet) as calls:
            split.reuse(features, *args, **kwargs)
        assert not set(tiny.unet.mid_block.modules()) & set(calls)
        counts.append(len(calls))
    assert counts == sorted(set(counts))  # strictly growing
    assert counts[-1] < len(plain)


@pytest.mark.parametrize("branch", [-1, 9, 100])
def test_a_branch_that_is_not_there_is_named_with_the_range(tiny_sdxl: TinyUNet, branch: int) -> None:
    with pytest.raises(BranchError) as error:
        DiffusersUNetSplit(tiny_sdxl.unet, branch)
    assert str(error.value) == f"branch must be 0..8 for this UNet (9 skips), got {branch}; 0 is fastest"
    assert isinstance(error.value, ValueError)


def _without_mid_block() -> Any:
    unet = sdxl_unet()
    unet.mid_block = None
    return unet


def _with_motion_modules() -> Any:
    unet = sdxl_unet()  # UNetMotionModel's blocks have such a child, which runs between resnets
    unet.down_blocks[1].motion_modules = nn.ModuleList([nn.Identity(), nn.Identity()])
    return unet


def _with_a_block_of_another_kind() -> Any:
    unet = sdxl_unet()
    unet.up_blocks[0] = nn.Identity()
    return unet


def _with_a_skip_too_few() -> Any:
    unet = sdxl_unet()
    del unet.up_blocks[2].resnets[0]
    return unet


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Linear(2, 2), "Linear has no down_blocks, mid_block and up_blocks"),
        (_without_mid_block, "has no down_blocks, mid_block and up_blocks; skipstep cuts UNets"),
        (_with_motion_modules, r"CrossAttnDownBlock2D with \['motion_modules'\], which cannot be cut"),
        (_with_a_block_of_another_kind, "Identity with no resnets, which cannot be cut"),
        (_with_a_skip_too_few, "makes 9 skips on the way down and uses 8 on the way up"),
        (lambda: torch.compile(sdxl_unet(), backend="eager"), "already compiled with torch.compile.*attach before"),
    ],
)
def test_what_cannot_be_cut_is_refused(build: Any, message: str) -> None:
    unet = build()
    with pytest.raises(UnsupportedModelError, match=message) as error:
        DiffusersUNetSplit(unet, 0)
    assert isinstance(error.value, TypeError)


def test_parts_that_are_only_slots_do_not_count_as_extra_children(tiny_sdxl: TinyUNet) -> None:
    unet = sdxl_unet()
    unet.down_blocks[0].register_module("motion_modules", None)
    assert count_skips(unet) == count_skips(tiny_sdxl.unet)


def _channels(tensor: Tensor) -> int:
    return tensor.shape[1]


def test_the_features_are_the_input_of_the_up_path_at_the_cut(tiny_sdxl: TinyUNet) -> None:
    args, kwargs = tiny_sdxl.inputs(0)
    resnets = [resnet for block in tiny_sdxl.unet.up_blocks for resnet in block.resnets][::-1]
    for branch, resnet in enumerate(resnets):
        seen: list[Tensor] = []
        handle = resnet.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        _, features = DiffusersUNetSplit(tiny_sdxl.unet, branch).full(*args, **kwargs)
        handle.remove()
        assert torch.equal(features, seen[0][:, : _channels(features)])
        assert _channels(features) < _channels(seen[0])  # the skip comes after them
