"""Splits that follow what is put on the UNet in the middle of a run."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .diffusers_unet import DiffusersUNetSplit
from .mixed_unet import DiffusersMixedSplit


class LiveSplit:
    """A split made anew at each full pass, so that what is put on the UNet mid-run (a LoRA, FreeU) is in it."""

    def __init__(self, unet: Any, branch: int) -> None:
        self._unet = unet
        self._split = DiffusersUNetSplit(unet, branch)

    @property
    def branch(self) -> int:
        """The skip at which the UNet is cut."""
        return self._split.branch

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """A full pass through a new split."""
        self._split = DiffusersUNetSplit(self._unet, self._split.branch)
        return self._split.full(*args, **kwargs)

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A reuse pass through the split of the latest full pass."""
        return self._split.reuse(features, *args, **kwargs)


class LiveMixedSplit:
    """The same for several branches."""

    def __init__(self, unet: Any, branches: tuple[int, ...]) -> None:
        self._unet = unet
        self._split = DiffusersMixedSplit(unet, branches)

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, Tensor]]:
        """A full pass through a new split."""
        self._split = DiffusersMixedSplit(self._unet, self._split.branches)
        return self._split.full(*args, **kwargs)

    def at(self, branch: int) -> DiffusersUNetSplit:
        """The cut of the latest full pass at one of the branches."""
        return self._split.at(branch)


def live_split(unet: Any, branches: tuple[int, ...]) -> LiveSplit | LiveMixedSplit:
    """A split that is made anew at each full pass."""
    return LiveSplit(unet, branches[0]) if len(branches) == 1 else LiveMixedSplit(unet, branches)
