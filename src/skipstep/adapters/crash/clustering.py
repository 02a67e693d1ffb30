"""Clusters of neighbouring layers that compute alike (CRaSh, Zhang et al. 2023, arXiv:2310.15477)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from ...errors import OptionError


def neighbour_clusters(layers: Sequence[int], count: int, similarity: Tensor) -> list[tuple[int, ...]]:
    """Merge neighbours until `count` clusters are left; `similarity` is of all layers of the model.

    Two neighbours are as alike as the last layer of the left one and the first of the right one. Of equals, the
    lower are merged first.

    Raises:
        OptionError: if there are fewer layers than clusters.
    """
    if not 1 <= count <= len(layers):
        raise OptionError(f"the number of clusters must be 1..{len(layers)}, got {count}")
    clusters: list[tuple[int, ...]] = [(layer,) for layer in layers]
    while len(clusters) > count:
        likeness = [float(similarity[left[-1], right[0]]) for left, right in pairwise(clusters)]
        at = likeness.index(max(likeness))
        clusters[at : at + 2] = [clusters[at] + clusters[at + 1]]
    return clusters


def centre(cluster: Sequence[int]) -> int:
    """The layer in the middle of a cluster; of an even number, the upper of the two."""
    return cluster[len(cluster) // 2]
