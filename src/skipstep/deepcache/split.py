"""What a session needs of a UNet: both passes, and cuts at several skip connections where a plan mixes them."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class UNetSplit(Protocol):
    """A UNet cut at one skip connection (DeepCache's branch)."""

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """Run every block; return the UNet's own output and the deep features at the cut."""
        ...

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run only the shallow blocks around `features`, which stand in for everything deeper."""
        ...


class MixedSplit(Protocol):
    """A UNet that can be cut at several skip connections, one per reuse pass."""

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, Tensor]]:
        """Run every block; return the UNet's own output and the deep features of every branch."""
        ...

    def at(self, branch: int) -> UNetSplit:
        """The cut at one of the branches, for reuse passes."""
        ...


def first_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """The device of the first tensor among a UNet call's arguments."""
    return next(value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
