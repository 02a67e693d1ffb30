"""The demo SVD as a checkpoint."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._host import remember_loader
from .clip_vision import load_clip_vision
from .unet import load_unet
from .vae import load_video_vae


class DemoVideoCheckpoint(NamedTuple):
    """What ComfyUI's ImageOnlyCheckpointLoader gives."""

    model: Any
    clip_vision: Any
    vae: Any


def load_demo_video_checkpoint() -> DemoVideoCheckpoint:
    """A new checkpoint.

    Raises:
        ModelLoadError: if this ComfyUI builds such a model with other weights.
    """
    vae = load_video_vae()
    remember_loader(vae.patcher, _load_vae_patcher)
    return DemoVideoCheckpoint(load_unet("svd"), load_clip_vision(), vae)


def _load_vae_patcher(**_: Any) -> Any:  # ComfyUI's own VAE loader has no choice of patcher either
    return load_video_vae().patcher
