"""ControlNets on reuse passes: only what the kept blocks of the UNet are given is computed.

A ControlNet mirrors the input blocks of its UNet, and its i-th residual comes from its i-th block. A reuse pass at
branch b takes those of blocks 0 to b; the rest is in the stored features already. The network's own code runs, over a
view of it that ends after block b.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from skipstep.deepcache import module_view

ReuseBranch = Callable[[Any, Any], "int | None"]  # of the next UNet call with an input and its transformer options


def follow_passes(conditionings: Iterable[dict[str, Any]], reuse_branch: ReuseBranch) -> None:
    """Put stand-ins in place of ComfyUI's plain ControlNets, in conditionings that were made for this run.

    `reuse_branch` tells the branch if the next call is a reuse pass for certain, else None. Control LoRA, T2I-Adapters
    and networks of other packs stay as they are.
    """
    stand_ins: dict[int, Any] = {}
    for conditioning in conditionings:
        if conditioning.get("control") is not None:
            conditioning["control"] = _stand_in(conditioning["control"], reuse_branch, stand_ins)


def _stand_in(control: Any, reuse_branch: ReuseBranch, known: dict[int, Any]) -> Any:
    """A copy of a ControlNet, and of those chained before it, that follows the passes; one for each."""
    from comfy.controlnet import ControlNet

    if id(control) in known:
        return known[id(control)]
    made = copy.copy(control)
    if type(control) is ControlNet and _is_mirror(control.control_model):
        network = made.control_model = _Network(control.control_model)
        get_control = made.get_control

        def follow(x: Any, t: Any, cond: Any, batched: Any, options: Any) -> Any:
            network.branch = reuse_branch(x, options)
            return get_control(x, t, cond, batched, options)

        made.get_control = follow
    if control.previous_controlnet is not None:
        made.previous_controlnet = _stand_in(control.previous_controlnet, reuse_branch, known)
    known[id(control)] = made
    return made


def _is_mirror(network: Any) -> bool:
    parts = ("input_blocks", "zero_convs", "middle_block", "middle_block_out")
    return all(isinstance(getattr(network, part, None), nn.Module) for part in parts)


class _Network:
    """Called as the ControlNet's module, whose attributes it has; runs a part of it while `branch` is set."""

    def __init__(self, whole: Any) -> None:
        self.branch: int | None = None
        self._whole = whole
        self._parts: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def __call__(self, **inputs: Any) -> dict[str, list[Tensor | None]]:
        """Residuals of all blocks, None for those that are left out."""
        blocks = len(self._whole.zero_convs)
        if self.branch is None or self.branch + 1 >= blocks:
            residuals: dict[str, list[Tensor | None]] = self._whole(**inputs)
            return residuals
        made = self._part(self.branch)(**inputs)["output"]
        # as many as ever: soft weights go by how many there are
        return {"middle": [], "output": [*made, *[None] * (blocks - len(made))]}

    def _part(self, branch: int) -> Any:
        def cut(whole: Any) -> Any:
            return module_view(
                whole,
                input_blocks=whole.input_blocks[: branch + 1],
                zero_convs=whole.zero_convs[: branch + 1],
                middle_block=_Nothing(),
                middle_block_out=_Nothing(),
            )

        if branch not in self._parts:
            compiled = getattr(self._whole, "part", None)
            self._parts[branch] = cut(self._whole) if compiled is None else compiled(branch, cut)
        return self._parts[branch]


class _Nothing(nn.Module):
    """Stands for a block whose result nobody takes."""

    def forward(self, h: Tensor, *args: Any) -> Tensor:
        """The input."""
        return h
