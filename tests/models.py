"""Tiny random models and diffusers pipelines: seeded, built without a download, and never constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    StableVideoDiffusionPipeline,
    UNet2DConditionModel,
    UNetSpatioTemporalConditionModel,
)
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

Size = tuple[int, int]
Call = tuple[tuple[Any, ...], dict[str, Any]]
CONTEXT, POOLED, TOKENS = 24, 16, 5  # of the conditionings below
PIXELS = 32  # a side; the VAE halves it
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def randomised(module: Any, seed: int = 0) -> Any:
    """The module with weights that keep activations near unit size, so that no part of it vanishes."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    return module.eval().requires_grad_(False)


def sdxl_unet(seed: int = 0) -> Any:
    """Three down blocks, the first without attention, and SDXL's size and time conditioning: 9 skips."""
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16, 16),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1, 3),
        projection_class_embeddings_input_dim=6 * 8 + POOLED,
        cross_attention_dim=CONTEXT,
        norm_num_groups=4,
        sample_size=PIXELS // 2,
    )
    return randomised(unet, seed)


def sd15_unet(seed: int = 0) -> Any:
    """Four down blocks of two layers, the last without attention: 12 skips."""
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        attention_head_dim=2,
        cross_attention_dim=CONTEXT,
        norm_num_groups=4,
        sample_size=PIXELS // 2,
    )
    return randomised(unet, seed)


def svd_unet(seed: int = 0) -> Any:
    """Four spatio-temporal down blocks of two layers: 12 skips; its norms fix 32 as the smallest width."""
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        num_attention_heads=(2, 2, 2, 2),
        cross_attention_dim=CONTEXT,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=3 * 8,
        sample_size=PIXELS // 2,
        num_frames=2,
    )
    return randomised(unet, seed)


@dataclass(frozen=True)
class TinyUNet:
    """A UNet and inputs that it takes; the same seed and size give the same values in new tensors."""

    name: str
    unet: Any
    skips: int
    sizes: tuple[Size, ...]
    more: Callable[[torch.Generator], dict[str, Any]]
    frames: int | None = None

    def inputs(self, seed: int, size: Size | None = None) -> Call:
        """Arguments of a call on a batch of 2, of the first of `sizes` if not told."""
        size = self.sizes[0] if size is None else size
        generator = torch.Generator().manual_seed(seed)
        sample = (2, 4, *size) if self.frames is None else (2, self.frames, 8, *size)
        context = torch.randn(2, TOKENS if self.frames is None else 1, CONTEXT, generator=generator)
        timestep = torch.tensor(900 - 20 * seed)
        kwargs = {**self.more(generator), "return_dict": False}
        return (torch.randn(sample, generator=generator), timestep, context), kwargs

    @torch.no_grad()
    def __call__(self, seed: int, size: Size | None = None) -> Tensor:
        """What the plain UNet makes of `inputs(seed, size)`."""
        args, kwargs = self.inputs(seed, size)
        output: Tensor = self.unet(*args, **kwargs)[0]
        return output


def _sdxl_conditioning(generator: torch.Generator) -> dict[str, Any]:
    pooled = torch.randn(2, POOLED, generator=generator)
    return {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.arange(12.0).reshape(2, 6)}}


def tiny_unet(name: str) -> TinyUNet:
    """The UNet called "sdxl", "sd15" or "svd"."""
    if name == "sdxl":
        return TinyUNet(name, sdxl_unet(), 9, ((16, 16), (17, 13)), _sdxl_conditioning)
    if name == "sd15":
        return TinyUNet(name, sd15_unet(), 12, ((16, 16), (17, 13)), lambda _: {})
    time_ids = {"added_time_ids": torch.ones(2, 3)}
    return TinyUNet(name, svd_unet(), 12, ((8, 8), (9, 13)), lambda _: dict(time_ids), frames=2)


def tiny_vae() -> Any:
    """An image VAE that halves each side."""
    names = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    return randomised(AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, force_upcast=False, **names))


def tiny_controlnet(unet: Any) -> Any:
    """A ControlNet for `unet` whose outputs, zero when new, are not zero."""
    return randomised(ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8)), seed=3)


def _quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd15_pipeline(kind: str = "txt2img", unet: Any = None) -> Any:
    """An SD1.5 pipeline, "txt2img", "img2img", "inpaint" or "controlnet", that takes prompt embeddings."""
    unet = sd15_unet() if unet is None else unet
    kinds = {
        "txt2img": StableDiffusionPipeline,
        "img2img": StableDiffusionImg2ImgPipeline,
        "inpaint": StableDiffusionInpaintPipeline,
        "controlnet": StableDiffusionControlNetPipeline,
    }
    extra = {"controlnet": tiny_controlnet(unet)} if kind == "controlnet" else {}
    pipe = kinds[kind](
        unet=unet,
        vae=tiny_vae(),
        scheduler=EulerDiscreteScheduler(**NOISE),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **extra,
    )
    return _quiet(pipe)


def sdxl_pipeline(kind: str = "txt2img", unet: Any = None) -> Any:
    """An SDXL pipeline of the kinds of `sd15_pipeline`."""
    unet = sdxl_unet() if unet is None else unet
    kinds = {
        "txt2img": StableDiffusionXLPipeline,
        "img2img": StableDiffusionXLImg2ImgPipeline,
        "inpaint": StableDiffusionXLInpaintPipeline,
        "controlnet": StableDiffusionXLControlNetPipeline,
    }
    extra = {"controlnet": tiny_controlnet(unet)} if kind == "controlnet" else {}
    encoders = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    scheduler = EulerDiscreteScheduler(**NOISE)
    return _quiet(kinds[kind](unet=unet, vae=tiny_vae(), scheduler=scheduler, **encoders, **extra))


def svd_pipeline() -> Any:
    """A Stable Video Diffusion pipeline."""
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=CONTEXT, num_hidden_layers=1, num_attention_heads=2,
        image_size=PIXELS, patch_size=16,
    )  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4
    )
    pipe = StableVideoDiffusionPipeline(
        vae=randomised(vae),
        image_encoder=randomised(CLIPVisionModelWithProjection(vision)),
        unet=svd_unet(),
        scheduler=EulerDiscreteScheduler(**NOISE, prediction_type="v_prediction"),
        feature_extractor=CLIPImageProcessor(crop_size=PIXELS, size=PIXELS),
    )
    return _quiet(pipe)
