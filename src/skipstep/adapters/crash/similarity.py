"""How alike the outputs of two layers are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import OptionError


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of features (texts, hidden), from 0 to 1 (Kornblith et al. 2019,
    arXiv:1905.00414): the same for features that differ by a rotation or a scale.

    Raises:
        OptionError: if features are of different texts, or the same for all texts.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[0] != other.shape[0]:
        raise OptionError(f"features must be (texts, hidden) of the same texts, got {one.shape} and {other.shape}")
    x, y = (features.double() - features.double().mean(0) for features in (one, other))
    # kernels of texts: there are fewer texts than hidden values
    own_x, own_y = x @ x.T, y @ y.T
    scale = own_x.norm() * own_y.norm()
    if not scale > 0:
        raise OptionError("features are the same for all texts; compare layers on two or more different texts")
    return float((own_x * own_y).sum() / scale)


def layer_similarity(features: Sequence[Tensor]) -> Tensor:
    """Linear CKA of all pairs of layers, (layers, layers)."""
    similarity = torch.eye(len(features), dtype=torch.float64)
    for i, one in enumerate(features):
        for j in range(i):
            similarity[i, j] = similarity[j, i] = linear_cka(one, features[j])
    return similarity
