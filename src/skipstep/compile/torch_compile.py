"""Any backend of torch.compile, with the arguments that other programs hand to torch.compile itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ._dynamo import RECOMPILE_LIMIT, compiled, replaying, trace
from .backend import Availability, Graph, PassSpec
from .inductor import inductor_availability

_REPLAYING = ("reduce-overhead", "max-autotune")  # modes with CUDA graphs


class TorchCompileBackend:
    """Compiles each pass with `torch.compile(pass, backend=..., mode=..., options=..., fullgraph=...)`."""

    name = "torch.compile"
    supports = frozenset({"dynamic"})

    def __init__(
        self,
        backend: str | Callable[..., Any] = "inductor",
        *,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
        fullgraph: bool = True,
    ) -> None:
        self._backend = backend
        self._mode = mode
        self._options = dict(options) if options else None
        self._fullgraph = fullgraph

    def available(self) -> Availability:
        """Whether torch knows the backend, and can generate code if that is Inductor."""
        if self._backend == "inductor":
            return inductor_availability()
        known = torch._dynamo.list_backends(exclude_tags=())
        if isinstance(self._backend, str) and self._backend not in known:
            return Availability(False, f"torch.compile has no backend {self._backend!r}, but {', '.join(known)}")
        return Availability(True, f"torch {torch.__version__}")

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        """The pass, traced and compiled now."""
        settings: dict[str, Any] = {
            "backend": self._backend,
            "mode": self._mode,
            "options": self._options,
            "dynamic": spec.options.dynamic,
            "fullgraph": self._fullgraph,
            "recompile_limit": RECOMPILE_LIMIT,
        }
        graph: Any = compiled(module, settings)
        trace(graph, spec.example)
        spec.counters.compiles += 1
        return replaying(graph) if self._is_replaying() else graph

    def _is_replaying(self) -> bool:
        of_options = (self._options or {}).get("triton.cudagraphs", False)
        return self._backend == "cudagraphs" or self._mode in _REPLAYING or bool(of_options)
