"""The two passes of an ldm UNet as modules that take tensors and return tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..deepcache import LdmMixedSplit, LdmUNetSplit
from .signature import CallTree


class _LdmPass(nn.Module):
    """A pass without `transformer_options`: of these only what others put there would be read."""

    repeated = ("BasicTransformerBlock",)
    untold = ("transformer_options",)  # where a block is, which would make a graph of each

    def __init__(self, unet: Any, call: CallTree) -> None:
        super().__init__()
        self.unet = unet
        self._call = call

    def _inputs(self, tensors: tuple[Tensor, ...]) -> dict[str, Any]:
        _, inputs = self._call.rebuild(tensors)
        return {**inputs, "transformer_options": {}}


class LdmFullPass(_LdmPass):
    """Every block of the UNet; returns its output and the deep features of each cut, in order."""

    def __init__(self, cuts: LdmMixedSplit, call: CallTree) -> None:
        super().__init__(cuts.unet, call)
        self._cuts = cuts

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Output (batch, channels, height, width), then the features."""
        output, features = self._cuts.full_through(self.unet, self._inputs(tensors))
        return output, *(features[branch] for branch in self._cuts.branches)


class LdmReusePass(_LdmPass):
    """The blocks around the deep features, which come first."""

    def __init__(self, cut: LdmUNetSplit, call: CallTree) -> None:
        super().__init__(cut.shallow, call)
        self._cut = cut

    def forward(self, features: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Output (batch, channels, height, width)."""
        return (self._cut.reuse_through(self.unet, features, self._inputs(tensors)),)
