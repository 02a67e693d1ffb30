"""Which of a model's middle layers an emulator keeps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...errors import OptionError
from .clustering import centre, neighbour_clusters


def keep_uniform(middle: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` layers at even distances, with the first and the last (offsite-tuning); one alone is the one half way."""
    _check_count(middle, count)
    if count == 1:
        return (middle[len(middle) // 2],)
    return tuple(middle[(2 * i * (len(middle) - 1) + count - 1) // (2 * (count - 1))] for i in range(count))


def keep_influential(middle: Sequence[int], count: int, influence: Sequence[float]) -> tuple[int, ...]:
    """The `count` layers of the largest block influence; of equals, the lower."""
    _check_count(middle, count)
    return tuple(sorted(sorted(middle, key=lambda layer: (-influence[layer], layer))[:count]))


def keep_centres(middle: Sequence[int], count: int, similarity: Tensor) -> tuple[int, ...]:
    """The centres of `count` clusters of neighbouring layers (CRaSh)."""
    _check_count(middle, count)
    return tuple(centre(cluster) for cluster in neighbour_clusters(middle, count, similarity))


def _check_count(middle: Sequence[int], count: int) -> None:
    if not 1 <= count <= len(middle):
        raise OptionError(f"the number of middle layers to keep must be 1..{len(middle)}, got {count}")
