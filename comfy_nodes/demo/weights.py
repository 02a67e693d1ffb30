"""The stored weights, part by part, and a check that ComfyUI took them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from skipstep.demo import _weights
from skipstep.errors import ModelLoadError

Weights = dict[str, Tensor]


def settings_of(model: str) -> dict[str, Any]:
    """The configuration of "sdxl", "sd15" or "svd", by part."""
    return _weights.configuration(model)


def stored_weights(model: str, *parts: str) -> tuple[Weights, ...]:
    """The weights of `parts` under diffusers' names and as stored, in float16; one dictionary a part.

    Text encoders come with all 49,408 token embeddings; those that are not stored are zero.
    """
    stored = _weights.weights(model)
    found = []
    for part in parts:
        prefix = f"{part}."
        weights = {key[len(prefix) :]: value for key, value in stored.items() if key.startswith(prefix)}
        if part.startswith("text_encoder"):
            _spread_embeddings(weights, stored["token_ids"].long(), settings_of(model)[part]["vocab_size"])
        found.append(weights)
    return tuple(found)


def _spread_embeddings(weights: Weights, tokens: Tensor, vocabulary: int) -> None:
    name = "text_model.embeddings.token_embedding.weight"
    rows = torch.zeros(vocabulary, weights[name].shape[1], dtype=weights[name].dtype)
    rows[tokens] = weights[name]
    weights[name] = rows


def check_names(part: str, ours: Iterable[str], theirs: Iterable[str]) -> None:
    """Make sure that ComfyUI's module has exactly our weights; its loader only logs what is left over.

    Raises:
        ModelLoadError: naming some that differ.
    """
    differ = sorted(set(ours) ^ set(theirs))
    if differ:
        raise ModelLoadError(
            f"this ComfyUI builds the {part} of the demo model with other weights ({len(differ)} differ, such as "
            f"{', '.join(differ[:3])}); ComfyUI 0.3.75 to 0.30.0 are known to work: use one of them or a newer skipstep"
        )
