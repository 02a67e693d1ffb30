"""The cheapest UNet that can be cut: what inductor compiles is paid for by the kernel, not by the weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from models import CONTEXT, PIXELS, TOKENS, Size, randomised
from torch import Tensor, nn

from skipstep.compile import relative_error
from skipstep.deepcache import DiffusersUNetSplit

LATENT = PIXELS // 2  # a side; the pipelines' own size
PLAIN = {"timestep_cond": None, "cross_attention_kwargs": None, "added_cond_kwargs": None, "return_dict": False}


def toy_unet(seed: int = 0, *, attention: str = "down") -> Any:
    """One level of one resnet: 2 skips, of which branch 0 leaves out all but `conv_in` and the last resnet.

    The one transformer block is on the way "down", or there are two on the way "up", the last in the reuse pass.
    """
    unet = UNet2DConditionModel(
        block_out_channels=(8,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D" if attention == "down" else "DownBlock2D",),
        mid_block_type="UNetMidBlock2D",  # one resnet
        up_block_types=("CrossAttnUpBlock2D" if attention == "up" else "UpBlock2D",),
        attention_head_dim=2,
        cross_attention_dim=CONTEXT,
        norm_num_groups=2,
        sample_size=LATENT,
    )
    unet.conv_act = nn.PReLU()  # a weight of one number, as video UNets have
    return randomised(unet, seed)


def toy_call(seed: int = 0, size: Size = (LATENT, LATENT)) -> dict[str, Any]:
    """A call of the toy as `StableDiffusionPipeline` makes it, guidance included; seeds differ in every input."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(2, 4, *size, generator=generator),
        "timestep": torch.tensor(900.0 - 20 * seed),
        "encoder_hidden_states": torch.randn(2, TOKENS, CONTEXT, generator=generator),
        **PLAIN,
    }


@torch.no_grad()
def eager(unet: Any, **call: Any) -> Tensor:
    """What the plain UNet makes of a call."""
    output: Tensor = unet(**call)[0]
    return output


@torch.no_grad()
def errors_of(split: Any, call: dict[str, Any], passes: Iterable[str] = ("full", "reuse")) -> list[float]:
    """How far these passes of a compiled split are from those of its UNet, run eagerly."""
    (expected,), features = DiffusersUNetSplit(split.unet, 0).full(**call)
    runs = {"full": lambda: split.full(**call)[0], "reuse": lambda: split.reuse(features, **call)}
    return [relative_error(expected, runs[name]()[0]) for name in passes]
