"""No compiler: the passes as they are, through the same dispatch. The reference for all others."""

from __future__ import annotations

import torch
from torch import nn

from .backend import Availability, PassSpec


class EagerBackend:
    """Leaves the passes to themselves."""

    name = "eager"
    supports: frozenset[str] = frozenset({"dynamic"})

    def available(self) -> Availability:
        """Always."""
        return Availability(True, f"torch {torch.__version__}")

    def compile(self, module: nn.Module, spec: PassSpec) -> None:
        """Nothing."""
