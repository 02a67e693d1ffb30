"""How much memory a computation takes on its device, found without doing it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(compute: Callable[[], Any]) -> int:
    """The most bytes of tensors that `compute` holds at once, its results included, what was there before not.

    It runs on tensors without storage and must make its own inputs. Kernels' workspaces are not counted, so this is
    the least that it takes.
    """
    counted = _Peak()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), counted:
        compute()
    return counted.peak


def free_bytes(device: torch.device) -> int:
    """What can still be allocated on a device, torch's own reserve included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    import psutil

    return int(psutil.virtual_memory().available)


class _Peak(TorchDispatchMode):
    """Adds up the storages of the tensors that operations return, for as long as these live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._live: dict[int, list[int]] = {}  # storage: tensors that have it, bytes

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        aliases = any(returned.alias_info is not None for returned in function._schema.returns)
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._add(leaf, is_view=aliases)
        return output

    def _add(self, tensor: Tensor, *, is_view: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._live:
            if is_view:  # of a weight
                return
            self._live[key] = [0, storage.nbytes()]
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
        self._live[key][0] += 1
        weakref.finalize(tensor, self._drop, key)

    def _drop(self, key: int) -> None:
        held = self._live[key]
        held[0] -= 1
        if not held[0]:
            self._now -= held[1]
            del self._live[key]
