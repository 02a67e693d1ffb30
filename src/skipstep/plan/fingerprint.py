"""Tells models apart without reading all of their weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

SAMPLES = 16
TOLERANCE = 0.05  # of a number that is about 1 apart for unlike weights, and below 0.005 for a copy in bfloat16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A hash of the configuration and of the names and shapes of all weights, and a projection of some of them."""

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
    named = sorted(
        (name.replace(".base_layer", ""), parameter)
        for name, parameter in unet.named_parameters()
        if "lora_" not in name
    )
    configuration = {key: value for key, value in dict(unet.config).items() if not key.startswith("_")}
    shapes = [(name, tuple(parameter.shape)) for name, parameter in named]
    text = json.dumps([configuration, shapes], sort_keys=True, default=str)
    matrices = [parameter for _, parameter in named if parameter.ndim > 1]
    chosen = matrices[:: max(1, len(matrices) // SAMPLES)][:SAMPLES]
    projections = tuple(round(_projection(parameter), 5) for parameter in chosen)
    return Fingerprint(hashlib.sha256(text.encode()).hexdigest()[:32], projections)


def _projection(weights: Tensor) -> float:
    """Sum of every other weight less that of the rest, over the norm of all: about normal with variance 1.

    Means of absolute values would not do: they are all but equal in two networks that began from the same
    initialisation.
    """
    flat = weights.detach().float().flatten()
    size = max(float(flat.norm()), 1e-12)
    return (float(flat[::2].sum()) - float(flat[1::2].sum())) / size
