"""What servers have compiled, shared: each graph is made by the first that needs it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import structlog

from skipstep.compile import KernelBundle, SharedGraphs, shared_store
from skipstep.compile.identity import unet_identity

from ..settings import Settings
from .models import ServedModel

INDUCTOR = "inductor"
log = structlog.get_logger()


class ServerGraphs:
    """The store of a server whose settings name a place to share.

    Raises:
        OptionError: if fsspec does not know the place.
        MissingExtraError, OutputError: as `skipstep.compile.default_store`.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.compiled is not None
        self._settings = settings
        self._shared = SharedGraphs(settings.compiled)
        self.store = shared_store(self._shared)

    @contextmanager
    def warming(self, models: Mapping[str, ServedModel]) -> Iterator[None]:
        """Inductor's kernels of the sizes that are made ready in this block, which are of these models.

        Other backends' graphs are files of the store, which are looked for one by one.
        """
        if self._settings.compiler != INDUCTOR or not models:
            yield
            return
        bundle = self._bundle(models)
        started = time.perf_counter()
        is_found = bundle.load()
        log.info("shared kernels", found=is_found, seconds=round(time.perf_counter() - started, 1))
        yield
        counted = [compiler.counters for model in models.values() for compiler in model.compilers.values()]
        bundle.keep(made=sum(counters.compiles - counters.cached for counters in counted))

    def close(self, timeout_s: float) -> None:
        """Wait for what is brought there."""
        if not self._shared.close(timeout_s):
            log.warning("graphs were not shared in time; the next server makes them anew", timeout_s=timeout_s)

    def _bundle(self, models: Mapping[str, ServedModel]) -> KernelBundle:
        sizes = []
        for shape in self._settings.warm_shapes:
            unet = models[shape.model].loaded.pipe.unet
            sizes.append((unet_identity(unet, ""), str(unet.dtype), shape.width, shape.height, shape.frames))
        return KernelBundle(self.store, unet.device, tuple(sizes), self._settings.max_rows)
