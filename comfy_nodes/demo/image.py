"""The demo SDXL and SD1.5 as checkpoints."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._host import remember_loader
from .text import load_sd15_text, load_sdxl_text
from .unet import load_unet
from .vae import load_image_vae

SDXL, SD15 = "SDXL", "SD1.5"
IMAGE_MODELS = (SDXL, SD15)


class DemoCheckpoint(NamedTuple):
    """What ComfyUI's CheckpointLoaderSimple gives."""

    model: Any
    clip: Any
    vae: Any


def load_demo_checkpoint(name: str) -> DemoCheckpoint:
    """A new checkpoint, by its name in `IMAGE_MODELS`.

    Raises:
        ModelLoadError: if this ComfyUI builds such a model with other weights.
    """
    model = load_unet("sdxl" if name == SDXL else "sd15")
    clip = load_sdxl_text() if name == SDXL else load_sd15_text()
    vae = load_image_vae()
    remember_loader(clip.patcher, _load_text_patcher, name)
    remember_loader(vae.patcher, _load_vae_patcher)
    return DemoCheckpoint(model, clip, vae)


def _load_text_patcher(name: str, *, disable_dynamic: bool = False) -> Any:
    load = load_sdxl_text if name == SDXL else load_sd15_text
    return load(disable_dynamic=disable_dynamic).patcher


def _load_vae_patcher(**_: Any) -> Any:  # ComfyUI's own VAE loader has no choice of patcher either
    return load_image_vae().patcher
