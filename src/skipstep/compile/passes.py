"""The two passes as modules that take tensors and return tensors: what compilers trace."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..deepcache import DiffusersUNetSplit
from .signature import CallTree


class FullPass(nn.Module):
    """Every block of the UNet; returns its output and the deep features of each cut, in order."""

    def __init__(self, cuts: tuple[DiffusersUNetSplit, ...], call: CallTree) -> None:
        super().__init__()
        self.unet = cuts[-1].tapped  # each cut taps the view of the one before
        self._cuts = cuts
        self._call = call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Output (batch, channels, height, width), then the features."""
        args, kwargs = self._call.rebuild(tensors)
        output = self.unet(*args, **kwargs)
        return output[0], *(cut.take() for cut in self._cuts)


class ReusePass(nn.Module):
    """The blocks around the deep features, which come first."""

    def __init__(self, cut: DiffusersUNetSplit, call: CallTree) -> None:
        super().__init__()
        self.unet: Any = cut.shallow
        self._cut = cut
        self._call = call

    def forward(self, features: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Output (batch, channels, height, width)."""
        args, kwargs = self._call.rebuild(tensors)
        with self._cut.filled(features):
            output = self.unet(*args, **kwargs)
        return (output[0],)
