"""What cutting a UNet at a branch costs, told before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .diffusers_unet import count_skips
from .flops import InputShapes, count_branches


@dataclass(frozen=True, kw_only=True)
class BranchCost:
    """A reuse pass at one branch, and the deep features that it needs."""

    branch: int
    reuse_share: float  # its FLOPs over those of a full pass
    feature_bytes: int  # of one tensor in the UNet's own type; a forecast keeps `history_size` of them for each key


def branch_costs(unet: Any, shapes: InputShapes, branches: Iterable[int] | None = None) -> list[BranchCost]:
    """The costs of some branches, or of all, on inputs like `shapes` (`image_inputs`, `video_inputs`).

    Nothing is computed: the UNet may be of any type and on any devices, and on "meta" without weights.

    Raises:
        BranchError: if the UNet has no such branch.
        UnsupportedModelError: if the UNet cannot be cut.
    """
    chosen = tuple(range(count_skips(unet)) if branches is None else branches)
    return [
        BranchCost(branch=branch, reuse_share=count.flops.reuse / count.flops.full, feature_bytes=count.feature_bytes)
        for branch, count in count_branches(unet, chosen, shapes).items()
    ]
