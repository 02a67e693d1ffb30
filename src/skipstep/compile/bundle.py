"""Inductor's kernels of a whole process as one file of a store: torch's "mega-cache"."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from .signature import digest, machine
from .store import GraphStore


class KernelBundle:
    """The kernels that go with `parts`: everything that decides what is compiled, models, sizes and options.

    It is loaded before anything is compiled, and kept if that did not find all in it. A bundle holds what this process
    compiled and what it used of the bundle before. torch reads it with pickle: it is code.
    """

    def __init__(self, store: GraphStore, device: torch.device, *parts: Hashable) -> None:
        capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
        self.name = f"inductor-{digest(machine(device), capability, *parts)}.kernels"
        self._store = store
        self._is_loaded = False

    def load(self) -> bool:
        """Hand the kernels to torch; whether there were any."""
        with self._store.lock(self.name):
            found = self._store.load(self.name, lambda path: torch.compiler.load_cache_artifacts(path.read_bytes()))
        self._is_loaded = found is not None and not found.empty()
        return self._is_loaded

    def keep(self, *, made: int) -> bool:
        """Keep what torch has by now, if `made` graphs were compiled for which it had no kernels, or none were kept."""
        if self._is_loaded and not made:
            return False
        saved = torch.compiler.save_cache_artifacts()
        if saved is None:
            return False
        with self._store.lock(self.name):
            self._store.write(self.name, saved[0], title="Inductor's kernels")
        return True
