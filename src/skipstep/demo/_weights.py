"""The files of the demo models: configurations, weights by part, and the tokenizer they share."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import torch
from torch import Tensor

_FILES = resources.files(__package__)


def configuration(name: str) -> dict[str, Any]:
    """What `NAME.json` says of a demo model."""
    settings: dict[str, Any] = json.loads((_FILES / f"{name}.json").read_text(encoding="utf-8"))
    return settings


def weights(name: str) -> dict[str, Tensor]:
    """The tensors of `NAME.safetensors`, as stored."""
    from safetensors.torch import load

    stored: dict[str, Tensor] = load((_FILES / f"{name}.safetensors").read_bytes())
    return stored


def part(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of one component in float32, under the names that it gives them."""
    prefix = f"{name}."
    return {key[len(prefix) :]: value.float() for key, value in weights.items() if key.startswith(prefix)}


def fill_text_encoder(encoder: Any, weights: dict[str, Tensor], tokens: Tensor) -> None:
    """Load an encoder of which only the embeddings of `tokens` are stored; all others are zero."""
    own = encoder.state_dict()
    if not any(key.startswith("text_model.") for key in own):  # transformers 5 dropped the prefix
        weights = {key.removeprefix("text_model."): value for key, value in weights.items()}
    name = next(key for key in own if key.endswith("token_embedding.weight"))
    rows = torch.zeros_like(own[name])
    rows[tokens] = weights[name]
    encoder.load_state_dict({**weights, name: rows})


def tokenizer(padding: str) -> Any:
    """CLIP's tokenizer, which pads to 77 tokens with `padding`."""
    from transformers import CLIPTokenizer

    with resources.as_file(_FILES / "tokenizer") as folder:
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77, pad_token=padding)


def freeze(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Make `module` ready for inference in `dtype`."""
    torch.nn.Module.to(module.eval().requires_grad_(False), dtype)  # diffusers' own `to` warns of every cast
