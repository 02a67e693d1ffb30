"""What SoRA learns: for each module two matrices and the gate between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import AdapterError


@dataclass(frozen=True, kw_only=True)
class GatedFactors:
    """One module's `down` (rank, inputs), `gate` (rank,) and `up` (outputs, rank).

    Raises:
        AdapterError: if the shapes do not fit together.
    """

    down: Tensor
    gate: Tensor
    up: Tensor

    def __post_init__(self) -> None:
        shapes = tuple(self.down.shape), tuple(self.gate.shape), tuple(self.up.shape)
        if self.down.ndim != 2 or self.up.ndim != 2 or self.gate.ndim != 1 or shapes[0][0] != shapes[2][1]:
            raise AdapterError(f"down, gate and up must be (rank, inputs), (rank,), (outputs, rank), got {shapes}")
        if self.gate.shape[0] != self.down.shape[0]:
            raise AdapterError(f"a gate of {self.gate.shape[0]} values cannot stand between matrices of {shapes}")

    @property
    def rank(self) -> int:
        """Components whose gate is not zero."""
        return int(torch.count_nonzero(self.gate))

    def to(self, dtype: torch.dtype) -> GatedFactors:
        """The same in another type."""
        return GatedFactors(down=self.down.to(dtype), gate=self.gate.to(dtype), up=self.up.to(dtype))


@dataclass(frozen=True, kw_only=True)
class SoraState:
    """A whole adapter: factors by module name, and the scale (alpha / initial rank) that they all share.

    Pruning takes rows away and leaves the scale as it is, since the gates were trained with it.
    """

    modules: Mapping[str, GatedFactors]
    scale: float

    def ranks(self) -> dict[str, int]:
        """The rank of every module, those of rank 0 too."""
        return {name: factors.rank for name, factors in self.modules.items()}

    def average_rank(self) -> float:
        """The mean of `ranks`."""
        return sum(self.ranks().values()) / len(self.modules)

    def to(self, dtype: torch.dtype) -> SoraState:
        """The same in another type."""
        return SoraState(modules={name: factors.to(dtype) for name, factors in self.modules.items()}, scale=self.scale)
