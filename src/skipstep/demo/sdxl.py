"""The demo SDXL: SDXL's topology with 8.4 million parameters, which draws emoji-like objects (see MODEL_CARD.md)."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from ..errors import MissingExtraError

_FILES = resources.files(__package__)
_CONFIG: dict[str, Any] = json.loads((_FILES / "sdxl.json").read_text(encoding="utf-8"))
OBJECTS: tuple[str, ...] = tuple(_CONFIG["objects"])
COLOURS: tuple[str, ...] = tuple(_CONFIG["colours"])
VOCABULARY: frozenset[str] = frozenset(_CONFIG["vocabulary"])


def unknown_words(prompt: str) -> list[str]:
    """The words of `prompt` that the demo model was never shown, in order; it does not see them."""
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
        from safetensors.torch import load
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
    except ImportError as error:
        raise MissingExtraError(
            f"the demo model needs {error.name or 'diffusers'}: pip install 'skipstep[cli]'"
        ) from error
    weights = load((_FILES / "sdxl.safetensors").read_bytes())
    tokens = weights.pop("token_ids").long()
    encoders = {
        name: kind(CLIPTextConfig(**_CONFIG[name]))
        for name, kind in (("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection))
    }
    for name, encoder in encoders.items():
        _fill_text_encoder(encoder, _part(weights, name), tokens)
    unet = UNet2DConditionModel.from_config(_CONFIG["unet"])
    vae = AutoencoderKL.from_config(_CONFIG["vae"])
    unet.load_state_dict(_part(weights, "unet"))
    vae.load_state_dict(_part(weights, "vae"))
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        unet=unet,
        tokenizer=_tokenizer("<|endoftext|>"),
        tokenizer_2=_tokenizer("!"),
        scheduler=EulerDiscreteScheduler.from_config(_CONFIG["scheduler"]),
        add_watermarker=False,
        **encoders,
    )
    for module in (unet, vae, *encoders.values()):
        torch.nn.Module.to(module.eval().requires_grad_(False), dtype)  # diffusers' own `to` warns of every cast
    return pipe


def _part(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key[len(prefix) :]: value.float() for key, value in weights.items() if key.startswith(prefix)}


def _fill_text_encoder(encoder: Any, weights: dict[str, Tensor], tokens: Tensor) -> None:
    """Load an encoder of which only the embeddings of `tokens` are stored; all others are zero."""
    own = encoder.state_dict()
    if not any(key.startswith("text_model.") for key in own):  # transformers 5 dropped the prefix
        weights = {key.removeprefix("text_model."): value for key, value in weights.items()}
    name = next(key for key in own if key.endswith("token_embedding.weight"))
    rows = torch.zeros_like(own[name])
    rows[tokens] = weights[name]
    encoder.load_state_dict({**weights, name: rows})


def _tokenizer(padding: str) -> Any:
    from transformers import CLIPTokenizer

    with resources.as_file(_FILES / "tokenizer") as folder:
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token=padding)
