"""A tiny random SDXL with its text encoders and tokenizers: a pipeline that can be saved and loaded."""

from __future__ import annotations

from importlib import resources
from typing import Any

from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from models import randomised
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

WIDTHS = (16, 32)  # of the text encoders; diffusers tells them apart by these in a single file


def tiny_sdxl() -> Any:
    """A `StableDiffusionXLPipeline`, the same at every call; 64 x 64 pixels."""
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16, 16),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 2),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTHS[1],
        cross_attention_dim=sum(WIDTHS),
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        force_upcast=False,
    )
    return StableDiffusionXLPipeline(
        unet=randomised(unet),
        vae=randomised(vae),
        text_encoder=randomised(CLIPTextModel(_text(WIDTHS[0]))),
        text_encoder_2=randomised(CLIPTextModelWithProjection(_text(WIDTHS[1]))),
        tokenizer=_tokenizer("<|endoftext|>"),
        tokenizer_2=_tokenizer("!"),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )


def _text(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=49406,
        eos_token_id=49407,
        pad_token_id=1,
    )


def _tokenizer(padding: str) -> Any:
    with resources.as_file(resources.files("skipstep.demo") / "tokenizer") as folder:
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token=padding)
