"""How much each layer changes what goes through it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..loop import Batch
from .features import observe_layers
from .layers import decoder_layers


def block_influence(model: Any, batches: Iterable[Batch], *, skip: int = 4) -> list[float]:
    """1 - cos(input, output) of every layer, averaged over tokens (ShortGPT, Men et al. 2024, arXiv:2403.03853).

    From 0, for a layer that only scales, to 2. The first `skip` tokens of each text are left out.
    """
    layers = len(decoder_layers(model))
    sums, tokens = torch.zeros(layers, dtype=torch.float64), torch.zeros(layers, dtype=torch.float64)

    def add(number: int, before: Tensor, after: Tensor, counted: Tensor) -> None:
        change = 1 - functional.cosine_similarity(before.double(), after.double(), dim=-1)
        sums[number] += change[counted.to(change.device)].sum().cpu()
        tokens[number] += counted.sum().cpu()

    observe_layers(model, batches, add, skip=skip)
    influence: list[float] = (sums / tokens).tolist()
    return influence
