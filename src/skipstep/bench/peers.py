"""Other libraries in the same benchmark: PyPI DeepCache, torch.compile as diffusers' documentation has it, and both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import torch

from ..errors import MissingExtraError
from .case import BenchRow
from .traced import Traced

INTERVAL = 3  # of PyPI DeepCache where the row does not say


class Peer:
    """Another library on a pipeline, for the time of a run. `traced` counts what torch makes of it."""

    def __init__(self, row: BenchRow, device: torch.device) -> None:
        assert row.peer is not None
        self._caches = row.peer.startswith("deepcache")
        self._compiles = row.peer.endswith("torch.compile")
        self._interval = row.reuse.interval if row.reuse is not None else INTERVAL
        self._branch = row.reuse.branch if row.reuse is not None else 0
        # on a CPU compiling would take hours, of the two together: graphs are traced and counted there, and run eagerly
        self._backend = "inductor" if device.type == "cuda" else "eager"
        self._compiled: Any = None
        self.traced = Traced()
        if self._caches:
            _deepcache()

    @property
    def version(self) -> str:
        """What runs, with its version."""
        parts = [f"DeepCache {metadata.version('DeepCache')}"] if self._caches else []
        if self._compiles:
            parts.append(f"torch.compile({self._backend}) of torch {torch.__version__}")
        return " + ".join(parts)

    @contextmanager
    def on(self, pipe: Any) -> Iterator[None]:
        """The pipeline as the library has it; afterwards as it was."""
        unet = pipe.unet
        attributes = [(module, set(vars(module))) for module in unet.modules()]
        helper = None
        try:
            if self._caches:
                helper = _deepcache()(pipe=pipe)
                helper.set_params(cache_interval=self._interval, cache_branch_id=self._branch)
                helper.enable()
            if self._compiles:
                if self._compiled is None:
                    self._compiled = torch.compile(unet, backend=self._backend, fullgraph=not self._caches)
                pipe.unet = self._compiled
            with self.traced.counting():
                yield
        finally:
            pipe.unet = unet
            if helper is not None:
                helper.disable()
            for module, known in attributes:  # DeepCache leaves a `forward` on every module, torch.compile a mark
                for name in set(vars(module)) - known:
                    del module.__dict__[name]


def _deepcache() -> Any:
    try:
        from DeepCache import DeepCacheSDHelper
    except ImportError as error:
        raise MissingExtraError("the peer deepcache is not installed: pip install DeepCache==0.1.1") from error
    return DeepCacheSDHelper
