"""Counted without computing, against what real tensors take."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipstep.engine.memory import free_bytes, peak_bytes


def test_counts_what_lives_at_once_and_forgets_what_was_dropped() -> None:
    def one_after_the_other() -> Any:
        for _ in range(10):
            made = torch.zeros(1000)
            del made
        return torch.zeros(500)

    def all_together() -> Any:
        return [torch.zeros(1000) for _ in range(10)]

    assert peak_bytes(one_after_the_other) == 4000
    assert peak_bytes(all_together) == 40_000


def test_views_share_their_storage() -> None:
    def views() -> Any:
        base = torch.zeros(64, 64)
        return [base[index] for index in range(64)], base.T, base.reshape(-1)

    assert peak_bytes(views) == 64 * 64 * 4


def test_weights_are_not_counted_and_nothing_is_computed() -> None:
    layer = nn.Linear(1000, 10)
    computed: list[torch.Tensor] = []
    layer.register_forward_hook(lambda _, __, output: computed.append(output))
    counted = peak_bytes(lambda: layer(torch.empty(1, 1000)))
    assert 4000 + 40 <= counted < 4000 + 40 + 1000 * 10 * 4
    with pytest.raises(DataDependentOutputException):
        computed[0].sum().item()


class _Sum(TorchDispatchMode):
    """An independent count: of all storages alive after each operation, found by the garbage collector."""

    peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        alive = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in (*_made, *tree_leaves(output))
            if isinstance(tensor, torch.Tensor)
        }
        _made.update(leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor))
        self.peak = max(self.peak, sum(alive.values()))
        return output


_made: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()


def test_agrees_with_real_tensors() -> None:
    network = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.SiLU())))
    gc.collect()
    with torch.no_grad(), _Sum() as real:
        network(torch.zeros(2, 8, 16, 16))
    assert peak_bytes(lambda: network(torch.empty(2, 8, 16, 16))) == real.peak > 2 * 8 * 256 * 4


def test_tells_what_is_free_here() -> None:
    assert free_bytes(torch.device("cpu")) > 2**20
