"""A tiny random Stable Video Diffusion with heads as wide as the published one's, and weights by original names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from models import randomised
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

CONTEXT = 24
SCHEDULER = {  # as in the model that Stability AI published for diffusers
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
}


def svd_unet(widths: tuple[int, ...] = (64, 64), *, head: int = 64, layers: Any = 1, depth: Any = 1) -> Any:
    """Not randomised; every level but the last has attention."""
    down = ["CrossAttnDownBlockSpatioTemporal" for _ in widths[1:]]
    up = ["CrossAttnUpBlockSpatioTemporal" for _ in widths[1:]]
    return UNetSpatioTemporalConditionModel(
        sample_size=96,
        down_block_types=(*down, "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", *up),
        block_out_channels=widths,
        layers_per_block=layers,
        transformer_layers_per_block=depth,
        num_attention_heads=tuple(width // head for width in widths),
        cross_attention_dim=CONTEXT,
        num_frames=14,
    )


def svd_vae(widths: tuple[int, ...] = (32, 64), *, layers: int = 2) -> Any:
    """Not randomised."""
    return AutoencoderKLTemporalDecoder(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        layers_per_block=layers,
        sample_size=768,
    )


def svd_vision(*, head: int = 80) -> Any:
    """Two heads, 16 patches; not randomised."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=2 * head,
            intermediate_size=64,
            projection_dim=CONTEXT,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
            hidden_act="gelu",
        )
    )


def tiny_svd() -> Any:
    """A `StableVideoDiffusionPipeline`, the same at every call; two pixels to a latent."""
    pipe = StableVideoDiffusionPipeline(
        unet=randomised(svd_unet()),
        vae=randomised(svd_vae()),
        image_encoder=randomised(svd_vision()),
        scheduler=EulerDiscreteScheduler(**SCHEDULER),
        feature_extractor=CLIPImageProcessor(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights by their original names, which alone decide on the values; activations stay near unit size."""
    generator, weights = torch.Generator().manual_seed(0), {}
    for name, shape in sorted(shapes.items()):
        scale = torch.Size(shape[1:]).numel() ** -0.5 if len(shape) > 1 else 0.1
        is_norm = len(shape) == 1 and name.endswith("weight")
        weights[name] = torch.randn(shape, generator=generator) * scale + is_norm
    return weights


def svd_inputs() -> dict[str, Tensor]:
    """What the three parts of `tiny_svd` take."""
    generator = torch.Generator().manual_seed(1)
    return {
        "latents": torch.randn(1, 3, 8, 8, 8, generator=generator),
        "context": torch.randn(1, 1, CONTEXT, generator=generator),
        "ids": torch.tensor([[6.0, 127.0, 0.02]]),
        "frames": torch.rand(3, 3, 16, 16, generator=generator) * 2 - 1,
        "codes": torch.randn(3, 4, 8, 8, generator=generator),
        "picture": torch.randn(1, 3, 224, 224, generator=generator),
    }


@torch.no_grad()
def svd_outputs(parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the UNet, both halves of the VAE and the image encoder make of `svd_inputs`."""
    given, time = svd_inputs(), torch.tensor(1.3)
    return {
        "unet": parts["unet"](given["latents"], time, given["context"], given["ids"]).sample,
        "encoder": parts["vae"].encode(given["frames"]).latent_dist.mode(),
        "decoder": parts["vae"].decode(given["codes"], num_frames=3).sample,
        "image_encoder": parts["image_encoder"](given["picture"]).image_embeds,
    }
