"""Full-size UNets with random weights: speed does not depend on what the weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import MissingExtraError, OptionError

_SDXL: dict[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}


@dataclass(frozen=True, kw_only=True)
class UNetKind:
    """A UNet's class and configuration, and what a pipeline hands it."""

    video: bool = False
    config: dict[str, Any]
    inputs: Callable[[Any, int, torch.Generator], dict[str, Any]]  # UNet, batch, generator: the conditionings


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def _text(unet: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    return {"encoder_hidden_states": _normal(generator, batch, 77, unet.config.cross_attention_dim)}


def _text_and_sizes(unet: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    added = {"text_embeds": _normal(generator, batch, pooled), "time_ids": torch.full((batch, 6), 1024.0)}
    return {**_text(unet, batch, generator), "added_cond_kwargs": added}


def _picture(unet: Any, batch: int, generator: torch.Generator) -> dict[str, Any]:
    states = _normal(generator, batch, 1, unet.config.cross_attention_dim)
    return {"encoder_hidden_states": states, "added_time_ids": torch.full((batch, 3), 6.0)}


UNETS: dict[str, UNetKind] = {
    "sdxl": UNetKind(  # 2.57 billion parameters
        inputs=_text_and_sizes,
        config={
            **_SDXL,
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
    ),
    "sdxl-72m": UNetKind(  # SDXL's shape at a size that a CPU core runs in a second
        inputs=_text_and_sizes,
        config={
            **_SDXL,
            "sample_size": 32,
            "block_out_channels": (64, 128, 256),
            "transformer_layers_per_block": (1, 2, 6),
            "attention_head_dim": (1, 2, 4),
            "cross_attention_dim": 512,
            "addition_time_embed_dim": 64,
            "projection_class_embeddings_input_dim": 896,
        },
    ),
    "sdxl-tiny": UNetKind(  # to try the benchmark itself
        inputs=_text_and_sizes,
        config={
            **_SDXL,
            "sample_size": 16,
            "block_out_channels": (8, 16, 16),
            "transformer_layers_per_block": (1, 1, 1),
            "attention_head_dim": (1, 2, 2),
            "norm_num_groups": 4,
            "cross_attention_dim": 24,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 64,
        },
    ),
    "sd15": UNetKind(  # 860 million
        inputs=_text, config={"sample_size": 64, "cross_attention_dim": 768}
    ),
    "svd": UNetKind(video=True, inputs=_picture, config={}),  # 1.52 billion, the defaults of its class
    "svd-tiny": UNetKind(
        video=True,
        inputs=_picture,
        config={
            "sample_size": 16,
            "block_out_channels": (32, 32, 32, 32),
            "layers_per_block": 1,
            "num_attention_heads": (1, 1, 1, 1),
            "cross_attention_dim": 24,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 24,
        },
    ),
}


def random_unet(name: str, *, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Any:
    """The UNet, made on the device itself.

    Raises:
        OptionError: if there is none of that name.
        MissingExtraError: without diffusers.
    """
    if name not in UNETS:
        raise OptionError(f"the UNet must be one of {', '.join(UNETS)}, got {name!r}")
    try:
        from diffusers import UNet2DConditionModel, UNetSpatioTemporalConditionModel
    except ImportError as error:
        raise MissingExtraError("UNets need diffusers: pip install 'skipstep[diffusers]'") from error
    kind = UNETS[name]
    made = UNetSpatioTemporalConditionModel if kind.video else UNet2DConditionModel
    torch.manual_seed(seed)
    with torch.device(device):
        unet: Any = made(**kind.config)
    return unet.to(dtype).eval().requires_grad_(False)
