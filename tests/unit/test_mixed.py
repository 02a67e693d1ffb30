"""A UNet cut at several branches: one full pass serves every one of them, exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import TinyUNet, sdxl_unet, tiny_unet
from torch import nn

from skipstep.deepcache import DiffusersMixedSplit, DiffusersUNetSplit
from skipstep.deepcache._live import LiveMixedSplit, LiveSplit, live_split
from skipstep.errors import BranchError

pytestmark = pytest.mark.usefixtures("no_grad")


def footprint(unet: nn.Module) -> list[tuple[set[str], list[str], int]]:
    return [(set(m.__dict__), list(m._modules), len(m._forward_hooks)) for m in unet.modules()]


def test_one_full_pass_is_the_plain_unet_and_has_the_features_of_every_branch(tiny: TinyUNet) -> None:
    split, before = DiffusersMixedSplit(tiny.unet, range(tiny.skips)), footprint(tiny.unet)
    size = tiny.sizes[-1]  # odd where the UNet takes it
    args, kwargs = tiny.inputs(0, size)
    output, features = split.full(*args, **kwargs)
    assert torch.equal(output[0], tiny(0, size))
    assert sorted(features) == list(range(tiny.skips))
    for branch, taken in features.items():
        _, expected = DiffusersUNetSplit(tiny.unet, branch).full(*args, **kwargs)
        assert torch.equal(taken, expected), branch
    assert len({taken.data_ptr() for taken in features.values()}) == tiny.skips
    assert not any(torch.equal(features[b], features[b + 1]) for b in range(tiny.skips - 1))
    assert footprint(tiny.unet) == before


def test_reuse_at_every_branch_is_exact_on_the_same_input_and_not_on_another(tiny: TinyUNet) -> None:
    split = DiffusersMixedSplit(tiny.unet, range(tiny.skips))
    args, kwargs = tiny.inputs(0)
    _, features = split.full(*args, **kwargs)
    kept = {branch: taken.clone() for branch, taken in features.items()}
    other_args, other_kwargs = tiny.inputs(1)
    for branch in range(tiny.skips):
        assert torch.equal(split.at(branch).reuse(features[branch], *args, **kwargs)[0], tiny(0)), branch
        stale = split.at(branch).reuse(features[branch], *other_args, **other_kwargs)[0]
        assert not torch.equal(stale, tiny(1)), branch
        assert torch.equal(features[branch], kept[branch])


def test_the_branches_are_a_set(tiny_sdxl: TinyUNet) -> None:
    split = DiffusersMixedSplit(tiny_sdxl.unet, (4, 0, 4))
    assert split.branches == (0, 4)
    args, kwargs = tiny_sdxl.inputs(0)
    assert sorted(split.full(*args, **kwargs)[1]) == [0, 4]
    assert split.at(4).branch == 4


@pytest.mark.parametrize("branches", [(0, 9), (-1, 2)])
def test_a_branch_that_is_not_there_is_refused(tiny_sdxl: TinyUNet, branches: tuple[int, ...]) -> None:
    with pytest.raises(BranchError, match=r"branch must be 0\.\.8 for this UNet"):
        DiffusersMixedSplit(tiny_sdxl.unet, branches)


def test_a_full_pass_runs_every_module_once_and_a_reuse_pass_only_the_shallow() -> None:
    tiny = tiny_unet("sdxl")
    calls: list[nn.Module] = []
    leaves = [module for module in tiny.unet.modules() if not list(module.children())]
    for leaf in leaves:
        leaf.register_forward_hook(lambda module, *_: calls.append(module))
    split = DiffusersMixedSplit(tiny.unet, (0, 3, 8))
    tiny(0)
    plain = list(calls)
    calls.clear()
    args, kwargs = tiny.inputs(0)
    _, features = split.full(*args, **kwargs)
    assert calls == plain
    counts = []
    for branch in split.branches:
        calls.clear()
        split.at(branch).reuse(features[branch], *args, **kwargs)
        counts.append(len(calls))
    assert 0 < counts[0] < counts[1] < counts[2] < len(plain)


def test_blocks_that_write_in_place_spoil_no_features() -> None:
    """FreeU scales its inputs where they lie."""
    tiny = tiny_unet("sdxl")
    plain = tiny(0)
    tiny.unet.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)
    expected = tiny(0)
    assert not torch.equal(expected, plain)
    split = DiffusersMixedSplit(tiny.unet, range(tiny.skips))
    args, kwargs = tiny.inputs(0)
    output, features = split.full(*args, **kwargs)
    assert torch.equal(output[0], expected)
    for branch in range(tiny.skips):
        assert torch.equal(split.at(branch).reuse(features[branch], *args, **kwargs)[0], expected), branch


def test_a_live_split_sees_what_is_put_on_the_unet_at_the_next_full_pass() -> None:
    tiny = tiny_unet("sdxl")
    split: Any = live_split(tiny.unet, (0, 4))
    assert isinstance(split, LiveMixedSplit)
    args, kwargs = tiny.inputs(0)
    before, features = split.full(*args, **kwargs)
    tiny.unet.conv_in = sdxl_unet(seed=5).conv_in  # as a LoRA on it would
    expected = tiny(0)
    assert not torch.equal(before[0], expected)
    assert torch.equal(split.at(4).reuse(features[4], *args, **kwargs)[0], before[0])  # until then as it was
    output, features = split.full(*args, **kwargs)
    assert torch.equal(output[0], expected)
    for branch in (0, 4):
        assert torch.equal(split.at(branch).reuse(features[branch], *args, **kwargs)[0], expected)


def test_a_single_branch_needs_no_mixture() -> None:
    split = live_split(sdxl_unet(), (3,))
    assert isinstance(split, LiveSplit)
    assert split.branch == 3
