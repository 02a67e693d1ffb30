"""What stands for a UNet: its own names are kept, and a pipeline finds in it how the UNet is to be cut."""

from __future__ import annotations

import pytest
import torch
from ldm_toys import ldm_unet
from models import sdxl_pipeline
from runs import sample

from skipstep import DeepCache, speed_up
from skipstep.deepcache import LdmUNetSplit, UNetProxy
from skipstep.deepcache._live import live_split


def test_its_own_names_cannot_be_written_to() -> None:
    unet = torch.nn.Linear(1, 1)
    proxy = UNetProxy(unet, mark=1)
    proxy.other = 2
    assert unet.other == 2
    for change in (lambda: setattr(proxy, "mark", 3), lambda: delattr(proxy, "mark")):
        with pytest.raises(AttributeError, match="mark is of UNetProxy, not of the UNet, and cannot be changed"):
            change()
    assert proxy.mark == 1


def test_one_in_the_making_has_no_attributes() -> None:
    hollow = object.__new__(UNetProxy)
    assert not hasattr(hollow, "config")


def test_a_pipeline_takes_over_how_a_compiled_unet_is_cut() -> None:
    pipe = sdxl_pipeline()
    unet = pipe.unet
    with speed_up(pipe, DeepCache(interval=3)):
        expected = sample(pipe, steps=10)
    cuts: list[tuple[int, ...]] = []

    def split(own: object, branches: tuple[int, ...]) -> object:
        assert own is unet
        cuts.append(branches)
        return live_split(unet, branches)

    pipe.unet = UNetProxy(unet, uncompiled=unet, split_maker=split)
    with speed_up(pipe, DeepCache(interval=3)):
        assert torch.equal(sample(pipe, steps=10), expected)
    assert cuts == [(0,)]


def test_the_view_of_reuse_passes_shares_the_blocks() -> None:
    unet = ldm_unet()
    shallow = LdmUNetSplit(unet, 1).shallow
    assert list(shallow.input_blocks) == list(unet.input_blocks[:2])
