"""The architectures: SDXL's topology with a twentieth of its width."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

TEXT_WIDTH = 64
PICTURE_WIDTH = 32


def new_unet() -> UNet2DConditionModel:
    """8.4 M parameters; two layers a block, so that skips and block indices are SDXL's; heads of 64 channels."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(1, 1, 2),  # diffusers reads this as the number of heads
        cross_attention_dim=2 * TEXT_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + TEXT_WIDTH,
    )


def new_sd15_unet() -> UNet2DConditionModel:
    """5.5 M parameters; SD1.5's four levels of two layers, the last without attention: 12 skips."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 96, 96),
        layers_per_block=2,
        attention_head_dim=2,  # diffusers reads this as the number of heads
        cross_attention_dim=TEXT_WIDTH,
    )


def new_vae() -> AutoencoderKL:
    """1.0 M parameters, eight pixels to a latent."""
    return AutoencoderKL(
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=128,
        scaling_factor=1.0,
        force_upcast=False,
    )


def text_config(vocabulary: int, *, end: int, activation: str) -> CLIPTextConfig:
    """Two layers, two heads, 64 channels."""
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=TEXT_WIDTH,
        hidden_act=activation,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=1,
    )


def new_text_encoders(vocabulary: int, *, end: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """CLIP-L-like (quick GELU) and bigG-like (GELU, projected) encoders."""
    first = CLIPTextModel(text_config(vocabulary, end=end, activation="quick_gelu"))
    second = CLIPTextModelWithProjection(text_config(vocabulary, end=end, activation="gelu"))
    for encoder in (first, second):
        for name, parameter in encoder.named_parameters():
            if "embedding" in name:
                nn.init.normal_(parameter, std=0.1)  # CLIP's 0.02 starts too small for a vocabulary of 70 words
    return first, second


def noise_levels() -> torch.Tensor:
    """Cumulative alphas of SDXL's `scaled_linear` schedule, 1000 of them."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def new_svd_unet() -> UNetSpatioTemporalConditionModel:
    """5.9 M parameters; SVD's four levels of two layers, 12 skips; heads of 32 channels."""
    return UNetSpatioTemporalConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        num_attention_heads=(1, 2, 2, 2),
        cross_attention_dim=PICTURE_WIDTH,
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=3 * 256,
        num_frames=14,
    )


def new_image_encoder() -> CLIPVisionModelWithProjection:
    """CLIP's vision tower with two layers and 16 patches; 224 pixels, as the pipeline resizes pictures."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=PICTURE_WIDTH,
            intermediate_size=2 * PICTURE_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=224,
            patch_size=56,
            projection_dim=PICTURE_WIDTH,
        )
    )


def new_temporal_vae() -> AutoencoderKLTemporalDecoder:
    """1.1 M parameters; the encoder is that of `new_vae`."""
    return AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=128,
        scaling_factor=1.0,
        force_upcast=False,
    )
