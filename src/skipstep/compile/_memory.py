"""Tells running out of memory apart from all else that a compiler may raise."""

from __future__ import annotations

from errno import ENOMEM

import torch

_SAYINGS = ("CUDA out of memory", "DefaultCPUAllocator: can't allocate memory", "std::bad_alloc")  # of a RuntimeError


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raise the error, or the one that it was caused by, if memory ran out: another way of running would need more.

    Torch wraps what a backend raises, and has no class of its own for the memory of the CPU.
    """
    cause: BaseException | None = error
    while cause is not None:
        if _is_out_of_memory(cause):
            raise cause
        cause = getattr(cause, "inner_exception", None) or cause.__cause__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == ENOMEM
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = isinstance(error, RuntimeError) and getattr(error, "inner_exception", None) is None
    return said and any(saying in str(error) for saying in _SAYINGS)
