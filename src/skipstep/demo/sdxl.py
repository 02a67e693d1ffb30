"""The demo SDXL: SDXL's topology with 8.4 million parameters, which draws emoji-like objects (see MODEL_CARD.md)."""

from __future__ import annotations

import re
from typing import Any

import torch

from ..errors import MissingExtraError
from . import _weights

_CONFIG = _weights.configuration("sdxl")
OBJECTS: tuple[str, ...] = tuple(_CONFIG["objects"])
COLOURS: tuple[str, ...] = tuple(_CONFIG["colours"])
VOCABULARY: frozenset[str] = frozenset(_CONFIG["vocabulary"])


def unknown_words(prompt: str) -> list[str]:
    """The words of `prompt` that the demo models were never shown, in order; they do not see them."""
    words = re.findall(r"[\w'-]+", prompt.lower())
    return [word for word in dict.fromkeys(words) if word not in VOCABULARY]


def load_demo_sdxl(dtype: torch.dtype = torch.float32) -> Any:
    """A new `StableDiffusionXLPipeline` with the demo weights, on the CPU; 128 x 128 pixels by default.

    Raises:
        MissingExtraError: if diffusers or transformers is not installed.
    """
    try:
        from diffusers import (
            AutoencoderKL,
            EulerDiscreteScheduler,
            StableDiffusionXLPipeline,
            UNet2DConditionModel,
        )
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
    except ImportError as error:
        raise MissingExtraError(
            f"the demo model needs {error.name or 'diffusers'}: pip install 'skipstep[cli]'"
        ) from error
    stored = _weights.weights("sdxl")
    tokens = stored.pop("token_ids").long()
    encoders = {
        name: kind(CLIPTextConfig(**_CONFIG[name]))
        for name, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection))
    }
    for name, encoder in encoders.items():
        _weights.fill_text_encoder(encoder, _weights.part(stored, name), tokens)
    unet = UNet2DConditionModel.from_config(_CONFIG["unet"])
    vae = AutoencoderKL.from_config(_CONFIG["vae"])
    unet.load_state_dict(_weights.part(stored, "unet"))
    vae.load_state_dict(_weights.part(stored, "vae"))
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        unet=unet,
        tokenizer=_weights.tokenizer("<|endoftext|>"),
        tokenizer_2=_weights.tokenizer("!"),
        scheduler=EulerDiscreteScheduler.from_config(_CONFIG["scheduler"]),
        add_watermarker=False,
        **encoders,
    )
    for module in (unet, vae, *encoders.values()):
        _weights.freeze(module, dtype)
    return pipe
