"""Warnings that torch gives of its own code, about which nobody who compiles a model can do anything."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_OF_TORCH: tuple[tuple[str, type[Warning]], ...] = (
    (r"`torch\.jit\.script_method` is deprecated", DeprecationWarning),  # importing Inductor in torch 2.13
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning),  # copying an exported program in torch 2.13
)


@contextmanager
def without_torch_warnings() -> Iterator[None]:
    """For a call into torch or OpenVINO, which copies exported programs too."""
    with warnings.catch_warnings():
        for message, category in _OF_TORCH:
            warnings.filterwarnings("ignore", message=message, category=category)
        yield
