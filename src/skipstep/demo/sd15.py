"""The demo SD1.5: its topology and epsilon prediction with 5.5 million parameters (see MODEL_CARD.md)."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import MissingExtraError
from . import _weights


def load_demo_sd15(dtype: torch.dtype = torch.float32) -> Any:
    """A new `StableDiffusionPipeline` with the demo weights, on the CPU; 128 x 128 pixels by default.

    It knows the words of the demo SDXL, and has its VAE.

    Raises:
        MissingExtraError: if diffusers or transformers is not installed.
    """
    try:
        from diffusers import (
            AutoencoderKL,
            EulerDiscreteScheduler,
            StableDiffusionPipeline,
            UNet2DConditionModel,
        )
        from transformers import CLIPTextConfig, CLIPTextModel
    except ImportError as error:
        raise MissingExtraError(
            f"the demo model needs {error.name or 'diffusers'}: pip install 'skipstep[cli]'"
        ) from error
    settings, stored = _weights.configuration("sd15"), _weights.weights("sd15")
    encoder = CLIPTextModel(CLIPTextConfig(**settings["text_encoder"]))
    _weights.fill_text_encoder(encoder, _weights.part(stored, "text_encoder"), stored["token_ids"].long())
    unet = UNet2DConditionModel.from_config(settings["unet"])
    unet.load_state_dict(_weights.part(stored, "unet"))
    vae = AutoencoderKL.from_config(_weights.configuration("sdxl")["vae"])
    vae.load_state_dict(_weights.part(_weights.weights("sdxl"), "vae"))
    for module in (unet, vae, encoder):
        _weights.freeze(module, dtype)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=_weights.tokenizer("<|endoftext|>"),
        unet=unet,
        scheduler=EulerDiscreteScheduler.from_config(settings["scheduler"]),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
