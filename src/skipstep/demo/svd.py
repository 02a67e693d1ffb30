"""The demo SVD: its topology with 5.9 million parameters; it moves what the demo SDXL draws (see MODEL_CARD.md)."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import MissingExtraError
from . import _weights

_CONFIG = _weights.configuration("svd")
# how objects move: a motion, and who has it
MOTIONS: dict[str, tuple[str, ...]] = {name: tuple(objects) for name, objects in _CONFIG["motions"].items()}


def load_demo_svd(dtype: torch.dtype = torch.float32) -> Any:
    """A new `StableVideoDiffusionPipeline` with the demo weights, on the CPU; 14 frames of 128 x 128 pixels.

    Raises:
        MissingExtraError: if diffusers or transformers is not installed.
    """
    try:
        from diffusers import (
            AutoencoderKLTemporalDecoder,
            EulerDiscreteScheduler,
            StableVideoDiffusionPipeline,
            UNetSpatioTemporalConditionModel,
        )
        from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise MissingExtraError(
            f"the demo model needs {error.name or 'diffusers'}: pip install 'skipstep[cli]'"
        ) from error
    stored = _weights.weights("svd")
    parts = {
        "unet": UNetSpatioTemporalConditionModel.from_config(_CONFIG["unet"]),
        "vae": AutoencoderKLTemporalDecoder.from_config(_CONFIG["vae"]),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**_CONFIG["image_encoder"])),
    }
    for name, module in parts.items():
        module.load_state_dict(_weights.part(stored, name))
        _weights.freeze(module, dtype)
    return StableVideoDiffusionPipeline(
        **parts,
        scheduler=EulerDiscreteScheduler.from_config(_CONFIG["scheduler"]),
        feature_extractor=CLIPImageProcessor(),
    )
