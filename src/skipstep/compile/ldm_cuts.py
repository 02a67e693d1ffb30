"""Calls of an ldm UNet as inputs of its passes, and which of them no graph can serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..deepcache import LdmMixedSplit, ldm_call
from ._obstacle import Obstacle
from .ldm_passes import LdmFullPass, LdmReusePass
from .placement import Placement
from .unet_cuts import Outputs, PassCall

_OPTIONS = "transformer_options"
_OF_OTHERS = ("patches", "patches_replace")  # functions by where they are called
# entries that the UNet's own code does not read: its notes, and what samplers and wrappers around the call go by
_UNREAD = frozenset(
    (
        *("original_shape", "transformer_index", "block", "block_index", "activations_shape"),
        *("cond_or_uncond", "uuids", "sigmas", "sample_sigmas", "context_window"),
        *("wrappers", "callbacks", "easycache", "skipstep", "multigpu_thread_device", "prefetch_dynamic_vbars"),
    )
)


class LdmCuts:
    """`UNetCuts` of an ldm UNet.

    Raises:
        BranchError, UnsupportedModelError: as `LdmUNetSplit`.
    """

    def __init__(self, unet: Any, branches: tuple[int, ...]) -> None:
        self._unet = unet
        self._branches = branches
        self.cut()

    def cut(self) -> None:
        """Cut the UNet anew, since it was changed."""
        self._cuts = LdmMixedSplit(self._unet, self._branches)
        self._placement = Placement(self._unet)

    def weights_changed(self) -> None:
        """Take note that tensors of the UNet were replaced or moved."""
        self._placement.touched()

    def full(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PassCall:
        """A full pass, which gives the output and the features of each branch, in order."""
        cuts, named = self._cuts, ldm_call(args, kwargs)

        def plainly() -> Outputs:
            output, features = cuts.full(**named)
            return output, *(features[branch] for branch in cuts.branches)

        return PassCall(
            name="full pass",
            branches=cuts.branches,
            inputs=_traced(named),
            sample=named["x"],
            make=lambda tree: LdmFullPass(cuts, tree),
            obstacle=self._obstacle(named),
            plainly=plainly,
        )

    def reuse(self, branch: int, features: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PassCall:
        """A reuse pass, which gives the output."""
        cut = self._cuts.at(branch)
        named = cut.reuse_call(args, kwargs)
        return PassCall(
            name=f"reuse pass at branch {branch}",
            branches=(branch,),
            first=(features,),
            inputs=_traced(named),
            sample=named["x"],
            make=lambda tree: LdmReusePass(cut, tree),
            obstacle=self._obstacle(named),
            plainly=lambda: (cut.reuse(features, **named),),
        )

    def _obstacle(self, named: dict[str, Any]) -> Obstacle | None:
        entry = _entry_of_others(named.get(_OPTIONS) or {})
        if entry is not None:
            return Obstacle(f"calls with {entry} in {_OPTIONS}", "a graph would keep what other code put there")
        return self._placement.obstacle(named["x"].device)


def _traced(named: dict[str, Any]) -> dict[str, Any]:
    """What a pass is told of a call."""
    return {name: value for name, value in named.items() if name != _OPTIONS}


def _entry_of_others(options: Mapping[str, Any]) -> str | None:
    """An entry that changes what the UNet computes, or may: functions of others, or what nobody here knows."""
    for name, value in options.items():
        if name in _OF_OTHERS:
            for place, functions in value.items():
                if functions:
                    return f"{name}.{place}"
        elif name not in _UNREAD and value is not None:
            return name
    return None
