"""Several LoRAs with scales as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..adapters.canonical import canonical_config
from ..adapters.lora_matrices import folded
from .adapter_use import Stacked


def summed(stack: Sequence[Stacked]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """One LoRA that does what several do together, as PEFT's config and tensors: their matrices side by side.

    PEFT's own `add_weighted_adapter` takes patterns and rsLoRA's scale over from the first of them.
    """
    parts: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for stacked in stack:
        for matrices in folded(stacked.info):
            a, b = torch.from_numpy(matrices.a), torch.from_numpy(matrices.b)
            parts.setdefault(matrices.module, []).append((a, b * stacked.scale))
    tensors = {}
    for module, pairs in parts.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.cat([a for a, _ in pairs], 0)
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.cat([b for _, b in pairs], 1)
    ranks = {module: sum(len(a) for a, _ in pairs) for module, pairs in parts.items()}
    return {**canonical_config(ranks), "inference_mode": True}, tensors
