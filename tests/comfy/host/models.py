"""The miniature models, loaded through ComfyUI's own loaders, and short runs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from .process import Core
from .tiny_files import CLIP_VISION, CONTROLNET, LORA, SDXL, SVD


@dataclass(frozen=True, kw_only=True)
class TinySDXL:
    """What `CheckpointLoaderSimple` gives, and two prompts."""

    model: Any  # ModelPatcher
    clip: Any
    vae: Any
    positive: Any
    negative: Any


@dataclass(frozen=True, kw_only=True)
class TinySVD:
    """What `ImageOnlyCheckpointLoader` gives, a picture's conditionings, and the latents of a short video."""

    model: Any  # ModelPatcher
    vae: Any
    clip_vision: Any
    positive: Any
    negative: Any
    latent: dict[str, Any]  # samples are (frames, 4, height / 8, width / 8)


def load_sdxl(core: Core) -> TinySDXL:
    model, clip, vae = core.call("CheckpointLoaderSimple", ckpt_name=SDXL)
    (positive,) = core.call("CLIPTextEncode", clip=clip, text="a red apple on a table")
    (negative,) = core.call("CLIPTextEncode", clip=clip, text="blurry")
    return TinySDXL(model=model, clip=clip, vae=vae, positive=positive, negative=negative)


def load_svd(core: Core) -> TinySVD:
    model, _, vae = core.call("ImageOnlyCheckpointLoader", ckpt_name=SVD)
    (clip_vision,) = core.call("TinyCLIPVisionLoader", name=CLIP_VISION)
    sizes = {"width": 128, "height": 64, "video_frames": 4, "motion_bucket_id": 127, "fps": 6}
    options = {**sizes, "augmentation_level": 0.0, "clip_vision": clip_vision, "vae": vae}
    positive, negative, latent = core.call("SVD_img2vid_Conditioning", init_image=picture(), **options)
    return TinySVD(model=model, vae=vae, clip_vision=clip_vision, positive=positive, negative=negative, latent=latent)


def load_controlnet(core: Core) -> Any:
    (network,) = core.call("ControlNetLoader", control_net_name=CONTROLNET)
    return network


def with_lora(core: Core, tiny: TinySDXL, *, strength: float) -> TinySDXL:
    """The same with the miniature LoRA, as `LoraLoaderModelOnly` applies it."""
    (model,) = core.call("LoraLoaderModelOnly", model=tiny.model, lora_name=LORA, strength_model=strength)
    return replace(tiny, model=model)


def with_controlnet(core: Core, tiny: TinySDXL, network: Any, *, strength: float = 1.0) -> TinySDXL:
    """The same with the miniature ControlNet on both conditionings."""
    span = {"start_percent": 0.0, "end_percent": 1.0, "strength": strength}
    positive, negative = core.call(
        "ControlNetApplyAdvanced",
        positive=tiny.positive,
        negative=tiny.negative,
        control_net=network,
        image=picture(side=128),
        **span,
    )
    return replace(tiny, positive=positive, negative=negative)


def picture(*, side: int = 64) -> torch.Tensor:
    """A seeded picture of noise, (1, side, side, 3) in 0..1."""
    return torch.rand((1, side, side, 3), generator=torch.Generator().manual_seed(4))


def empty_latent(*, width: int = 128, height: int = 128, batch: int = 1) -> dict[str, Any]:
    """What `EmptyLatentImage` gives."""
    return {"samples": torch.zeros((batch, 4, height // 8, width // 8))}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The inputs of `KSampler` that a test may want to vary."""

    steps: int = 6
    cfg: float = 4.0
    sampler_name: str = "euler"
    scheduler: str = "normal"
    seed: int = 1
    denoise: float = 1.0


def draw(core: Core, tiny: TinySDXL | TinySVD, *, latent: Any = None, sampling: Sampling | None = None) -> torch.Tensor:
    """The latents that `KSampler` ends with; a picture of 128 by 128 pixels, or the short video."""
    if latent is None:
        latent = tiny.latent if isinstance(tiny, TinySVD) else empty_latent()
    conditionings = {"positive": tiny.positive, "negative": tiny.negative}
    options = vars(sampling or Sampling())
    (drawn,) = core.call("KSampler", model=tiny.model, latent_image=latent, **conditionings, **options)
    samples: torch.Tensor = drawn["samples"]
    return samples
