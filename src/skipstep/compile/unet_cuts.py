"""What a compiled split needs of a kind of UNet: its passes as modules, and its calls as their inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ._obstacle import Obstacle
from .signature import CallTree

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassCall:
    """One call of one pass."""

    name: str  # "full pass", for people
    branches: tuple[int, ...]  # that its code depends on
    first: Outputs = ()  # the features of a reuse pass
    inputs: dict[str, Any]  # all other arguments, by name
    sample: Tensor
    make: Callable[[CallTree], nn.Module]
    finish: Callable[[Tensor], Any] = lambda output: output  # makes of the UNet's output what the caller wants
    obstacle: Obstacle | None = None
    plainly: Callable[[], Outputs] | None = None  # the call past all graphs, where that is not the pass as it is


class UNetCuts(Protocol):
    """Both passes of a UNet at some branches, as it was when they were cut."""

    def full(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PassCall:
        """A full pass, which gives the output and the features of each branch, in order."""
        ...

    def reuse(self, branch: int, features: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PassCall:
        """A reuse pass, which gives the output."""
        ...

    def cut(self) -> None:
        """Cut the UNet anew, since it was changed."""
        ...

    def weights_changed(self) -> None:
        """Take note that tensors of the UNet were replaced or written to."""
        ...
