"""Which layers an emulator keeps, against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from skipstep.adapters.crash import (
    Composition,
    dropping,
    keep_centres,
    keep_influential,
    keep_uniform,
    middle_layers,
    neighbour_clusters,
    outer_layers,
    sharing,
)
from skipstep.errors import OptionError


def chain(likeness: list[float]) -> torch.Tensor:
    """A similarity matrix with these values between neighbours, and nothing else."""
    matrix = torch.eye(len(likeness) + 1)
    for i, value in enumerate(likeness):
        matrix[i, i + 1] = matrix[i + 1, i] = value
    return matrix


def test_even_distances() -> None:
    middle = range(2, 12)
    assert keep_uniform(middle, 1) == (7,)
    assert keep_uniform(middle, 2) == (2, 11)
    assert keep_uniform(middle, 4) == (2, 5, 8, 11)
    assert keep_uniform(middle, 5) == (2, 4, 7, 9, 11)
    assert keep_uniform(middle, 10) == tuple(middle)
    assert keep_uniform((1, 2, 6, 7), 3) == (1, 6, 7)


def test_the_most_influential_in_their_order() -> None:
    influence = [9.0, 0.1, 0.5, 0.3, 0.5, 0.4, 9.0]
    assert keep_influential(range(1, 6), 1, influence) == (2,)
    assert keep_influential(range(1, 6), 3, influence) == (2, 4, 5)
    assert keep_influential(range(1, 6), 5, influence) == (1, 2, 3, 4, 5)


def test_clusters_merge_the_most_alike_neighbours_first() -> None:
    similarity = chain([0.1, 0.9, 0.2, 0.8, 0.3])
    assert neighbour_clusters(range(6), 4, similarity) == [(0,), (1, 2), (3, 4), (5,)]
    # then 4-5 (0.3), then 2-3 (0.2), which joins two clusters
    assert neighbour_clusters(range(6), 3, similarity) == [(0,), (1, 2), (3, 4, 5)]
    assert neighbour_clusters(range(6), 2, similarity) == [(0,), (1, 2, 3, 4, 5)]
    assert keep_centres(range(6), 3, similarity) == (0, 2, 4)
    assert keep_centres(range(6), 2, similarity) == (0, 3)


def test_clusters_go_by_the_layers_that_touch() -> None:
    similarity = chain([0.9, 0.5, 0.4])
    similarity[0, 2] = similarity[2, 0] = 0.0  # an average of (0, 1) and 2 would be 0.25, below 0.4
    assert neighbour_clusters(range(4), 2, similarity) == [(0, 1, 2), (3,)]


def test_of_equals_the_lower_merge_first_and_trained_layers_are_stepped_over() -> None:
    assert neighbour_clusters(range(4), 3, chain([0.5, 0.5, 0.5])) == [(0, 1), (2,), (3,)]
    similarity = chain([0.1, 0.1, 0.1, 0.1])
    similarity[1, 3] = similarity[3, 1] = 0.7
    assert neighbour_clusters((0, 1, 3, 4), 3, similarity) == [(0,), (1, 3), (4,)]


@pytest.mark.parametrize("count", [0, 5])
def test_numbers_of_layers_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(OptionError, match=f"to keep must be 1..4, got {count}"):
        keep_uniform(range(4), count)
    with pytest.raises(OptionError, match=f"to keep must be 1..4, got {count}"):
        keep_influential(range(4), count, [0.0] * 4)
    with pytest.raises(OptionError, match=f"to keep must be 1..4, got {count}"):
        keep_centres(range(4), count, torch.eye(4))
    with pytest.raises(OptionError, match=f"clusters must be 1..4, got {count}"):
        neighbour_clusters(range(4), count, torch.eye(4))


def test_outer_and_middle_layers() -> None:
    assert outer_layers(8) == (0, 1, 6, 7)
    assert outer_layers(5, bottom=0, top=3) == (2, 3, 4)
    assert outer_layers(5, bottom=1, top=0) == (0,)
    assert middle_layers(6, (0, 3, 5)) == (1, 2, 4)
    for bottom, top in ((2, 2), (0, 0), (-1, 2)):
        with pytest.raises(OptionError, match=f"must leave one of 4 layers in between, got {bottom} and {top}"):
            outer_layers(4, bottom=bottom, top=top)


def test_removed_layers_are_left_out_or_replaced_by_the_nearest() -> None:
    assert dropping(8, trained=(0, 7), kept=(2, 5)).slots == (0, 2, 5, 7)
    assert sharing(8, trained=(0, 7), kept=(2, 5)).slots == (0, 2, 2, 2, 5, 5, 5, 7)
    # 3 is as near to 2 as to 4: the lower
    assert sharing(6, trained=(0, 5), kept=(2, 4)).slots == (0, 2, 2, 2, 4, 5)
    # a trained layer never stands in for a removed one
    assert sharing(6, trained=(0, 3), kept=(1, 5)).slots == (0, 1, 1, 3, 5, 5)
    assert dropping(4, trained=(0, 3), kept=()).slots == (0, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trained": (1, 0)}, r"trained layers must rise within 0..3, got \[1, 0\]"),
        ({"kept": (2, 2)}, r"kept layers must rise within 0..3, got \[2, 2\]"),
        ({"kept": (4,)}, r"kept layers must rise within 0..3, got \[4\]"),
        ({"trained": (), "slots": (2,)}, "at least one layer must be trained"),
        ({"kept": (2, 3)}, r"layers \[3\] are both trained and kept"),
        ({"slots": (0, 3)}, r"slots must run each trained layer once and the kept ones, got \[0, 3\]"),
        ({"slots": (0, 0, 2, 3)}, r"slots must run each trained layer once"),
    ],
)
def test_compositions_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Composition(**{"total": 4, "trained": (0, 3), "kept": (2,), "slots": (0, 2, 3), **wrong})


def test_sharing_needs_a_kept_layer() -> None:
    with pytest.raises(OptionError, match="sharing needs at least one kept layer"):
        sharing(4, trained=(0, 3), kept=())
