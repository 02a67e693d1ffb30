"""Fingerprint of the UNet of a MODEL, the same as that of the model in diffusers' form."""

from __future__ import annotations

from typing import Any

from skipstep.plan import Fingerprint, ldm_fingerprint

_PREFIX = "diffusion_model."


def model_fingerprint(model: Any) -> Fingerprint:
    """The fingerprint of a ModelPatcher, of its weights without the LoRA that it may be loaded with."""
    weights = dict(model.model.diffusion_model.named_parameters())
    for key, kept in model.backup.items():  # ComfyUI adds a LoRA to the weights themselves
        name = key.removeprefix(_PREFIX)
        if name in weights:
            weights[name] = getattr(kept, "weight", kept)
    return ldm_fingerprint(weights)
