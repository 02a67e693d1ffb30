"""Tells models apart without reading all of their weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from .ldm_names import diffusers_names

SAMPLES = 16
TOLERANCE = 0.05  # of a number that is about 1 apart for unlike weights, and below 0.005 for a copy in bfloat16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A hash of the names and shapes of all weights, and a projection of some of them.

    diffusers' and ComfyUI's forms of one model have the same: names are diffusers'.
    """

    topology: str
    weights: tuple[float, ...]

    def matches(self, other: Fingerprint) -> bool:
        """Whether both are of one model; its precision, and LoRA layers put on it, make no difference."""
        pairs = list(zip(self.weights, other.weights, strict=False))
        near = all(abs(one - two) <= TOLERANCE for one, two in pairs)
        return self.topology == other.topology and len(self.weights) == len(other.weights) and near

    def as_dict(self) -> dict[str, Any]:
        """Plain enough for JSON."""
        return asdict(self)


def fingerprint(unet: Any) -> Fingerprint:
    """The fingerprint of a diffusers UNet; reads 16 of its weights."""
    named = {
        name.replace(".base_layer", ""): parameter for name, parameter in unet.named_parameters() if "lora_" not in name
    }
    return fingerprint_of(named)


def ldm_fingerprint(weights: Mapping[str, Tensor]) -> Fingerprint:
    """The fingerprint of an ldm UNet's weights, under the names that the UNet gives them."""
    names = diffusers_names(weights)
    return fingerprint_of({names[name]: weight for name, weight in weights.items()})


def fingerprint_of(weights: Mapping[str, Tensor]) -> Fingerprint:
    """The fingerprint of weights under diffusers' names."""
    named = sorted(weights.items())
    text = json.dumps([(name, tuple(weight.shape)) for name, weight in named])
    matrices = [weight for _, weight in named if weight.ndim > 1]
    chosen = matrices[:: max(1, len(matrices) // SAMPLES)][:SAMPLES]
    projections = tuple(round(_projection(weight), 5) for weight in chosen)
    return Fingerprint(hashlib.sha256(text.encode()).hexdigest()[:32], projections)


def _projection(weights: Tensor) -> float:
    """Sum of every other weight less that of the rest, over the norm of all: about normal with variance 1.

    Means of absolute values would not do: they are all but equal in two networks that began from the same
    initialisation.
    """
    flat = weights.detach().float().flatten()
    size = max(float(flat.norm()), 1e-12)
    return (float(flat[::2].sum()) - float(flat[1::2].sum())) / size
