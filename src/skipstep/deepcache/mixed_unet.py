"""A diffusers UNet that can be cut at several skip connections within one run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from .diffusers_unet import DiffusersUNetSplit


def tapped_cuts(unet: Any, branches: Iterable[int]) -> tuple[DiffusersUNetSplit, ...]:
    """A cut for each branch, each of the view that the one before taps: `tapped` of the last keeps all features."""
    cuts: list[DiffusersUNetSplit] = []
    for branch in branches:
        cuts.append(DiffusersUNetSplit(unet, branch))
        unet = cuts[-1].tapped
    return tuple(cuts)


class DiffusersMixedSplit:
    """Full passes that keep the deep features of several branches, and a reuse pass for each.

    The full pass is the UNet's own `forward` over a view with one tap per branch; like `DiffusersUNetSplit`, nothing
    is attached to the UNet.

    Raises:
        BranchError: if the UNet has no such skip.
        UnsupportedModelError: if the UNet cannot be cut.
    """

    def __init__(self, unet: Any, branches: Iterable[int]) -> None:
        self.branches = tuple(sorted(set(branches)))
        self._cuts = {branch: DiffusersUNetSplit(unet, branch) for branch in self.branches}
        self._taps = tapped_cuts(unet, self.branches)

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, Tensor]]:
        """The UNet's own output and the deep features (batch, channels, height, width) of every branch."""
        *inner, outermost = self._taps
        output, deepest = outermost.full(*args, **kwargs)
        taken = {split.branch: split.take() for split in inner}
        return output, {**taken, outermost.branch: deepest}

    def at(self, branch: int) -> DiffusersUNetSplit:
        """The cut at one of the branches."""
        return self._cuts[branch]
