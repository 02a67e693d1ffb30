"""Compares what a compiled graph gives with the eager result."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import CompileMismatchError

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}


def relative_error(reference: Tensor, other: Tensor) -> float:
    """Largest difference over the largest magnitude of the reference; infinite if it is not a number."""
    reference, other = reference.double(), other.double()
    gap = float((reference - other).abs().max() / reference.abs().max().clamp_min(1e-12))
    return gap if gap == gap else float("inf")


def check_outputs(
    reference: Sequence[Tensor], outputs: Sequence[Tensor], name: str, *, computed: torch.dtype | None = None
) -> None:
    """Refuse outputs that differ by more than rounding, in the type that they are `computed` in if not their own.

    Raises:
        CompileMismatchError: with the error and what is allowed.
    """
    if [tensor.shape for tensor in reference] != [tensor.shape for tensor in outputs]:
        raise CompileMismatchError(f"the compiled {name} gives other shapes than the model")
    for expected, made in zip(reference, outputs, strict=True):
        if made.dtype != expected.dtype:
            raise CompileMismatchError(f"the compiled {name} gives {made.dtype} for {expected.dtype}")
        error, allowed = relative_error(expected, made), TOLERANCE.get(computed or expected.dtype, 1e-4)
        if error > allowed:
            raise CompileMismatchError(
                f"the compiled {name} differs from the model by {error:.1e} of its largest value; allowed is "
                f"{allowed:.0e}"
            )
