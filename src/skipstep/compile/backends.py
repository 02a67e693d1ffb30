"""The backends by name, and which of them can be used here."""

from __future__ import annotations

from typing import Any

from ..errors import MissingExtraError, OptionError, OutputError
from .aot import AOTBackend
from .backend import Availability, Backend
from .eager import EagerBackend
from .inductor import InductorBackend
from .onediff import OneDiffBackend
from .oneflow import OneFlowBackend
from .openvino import OpenVINOBackend
from .store import GraphStore, default_store

BACKENDS = ("eager", "inductor", "aot", "openvino", "oneflow", "onediff")


def new_backend(name: str, store: GraphStore | None = None) -> Backend:
    """A backend by name; `store` is where those that keep graphs on disk keep them.

    Raises:
        OptionError: naming the backends, if there is none of that name.
    """
    if name not in BACKENDS:
        raise OptionError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    if name in ("aot", "openvino"):
        kept = default_store() if store is None else store
        return AOTBackend(kept) if name == "aot" else OpenVINOBackend(kept)
    plain: dict[str, type[Any]] = {
        "eager": EagerBackend,
        "inductor": InductorBackend,
        "oneflow": OneFlowBackend,
        "onediff": OneDiffBackend,
    }
    made: Backend = plain[name]()
    return made


def available_backends() -> dict[str, Availability]:
    """Which backends can be used here, and why not."""
    return {name: _available(name) for name in BACKENDS}


def _available(name: str) -> Availability:
    try:
        return new_backend(name).available()
    except (MissingExtraError, OutputError) as error:  # no folder to keep its graphs in
        return Availability(False, str(error))
