"""Fingerprints tell models apart, and take copies of a model for the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from models import sd15_unet, sdxl_unet

from skipstep.plan import Fingerprint, fingerprint
from skipstep.plan.fingerprint import SAMPLES

UNETS = {"sd15": sd15_unet, "sdxl": sdxl_unet}


@pytest.mark.parametrize("name", UNETS)
def test_a_copy_in_another_precision_is_the_same_model(name: str) -> None:
    own = fingerprint(UNETS[name]())
    assert len(own.weights) == SAMPLES
    assert own.matches(fingerprint(UNETS[name]()))
    for dtype in (torch.float16, torch.bfloat16):
        copied = fingerprint(UNETS[name]().to(dtype))
        assert copied.weights != own.weights  # it was rounded
        assert own.matches(copied)
        assert copied.matches(own)


@pytest.mark.parametrize("name", UNETS)
def test_other_weights_are_another_model(name: str) -> None:
    own, other = fingerprint(UNETS[name](0)), fingerprint(UNETS[name](1))
    assert own.topology == other.topology
    assert not own.matches(other)


def test_wide_networks_of_one_initialisation_are_told_apart() -> None:
    """Means of the sizes of so many weights would be equal to a percent."""

    def wide(seed: int) -> Any:
        torch.manual_seed(seed)
        width = {"block_out_channels": (128, 128), "norm_num_groups": 8, "attention_head_dim": 8}
        blocks = {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        }
        return UNet2DConditionModel(layers_per_block=1, cross_attention_dim=32, sample_size=8, **width, **blocks)

    own, other = fingerprint(wide(0)), fingerprint(wide(1))
    assert own.topology == other.topology
    assert not own.matches(other)
    assert own.matches(fingerprint(wide(0)))


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    unet = sdxl_unet()
    unet.save_pretrained(tmp_path)
    read = UNet2DConditionModel.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert fingerprint(read) == fingerprint(unet)


def test_fingerprints_of_unlike_length_do_not_match() -> None:
    own = Fingerprint("a", (1.0, 2.0))
    assert own.matches(Fingerprint("a", (1.0, 2.0)))
    assert not own.matches(Fingerprint("a", (1.0,)))
    assert not own.matches(Fingerprint("b", (1.0, 2.0)))
    assert not own.matches(Fingerprint("a", (1.0, 2.1)))
    assert own.as_dict() == {"topology": "a", "weights": (1.0, 2.0)}
