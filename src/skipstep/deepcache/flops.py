"""Counts the floating point operations of both passes on tensors without storage."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from ._view import bare_view
from .diffusers_unet import DiffusersUNetSplit
from .options import DeepCache
from .report import PassFlops


@dataclass(frozen=True, slots=True)
class InputShapes:
    """Arguments of a UNet call with every tensor replaced by its shape and type."""

    args: Any
    kwargs: Any

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InputShapes:
        """The shapes of a call; no tensor of it is kept alive."""
        return cls(
            *tree_map(lambda leaf: _Shape(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        )

    def empty_beside(self, weights: Tensor) -> tuple[Any, Any]:
        """The arguments as uninitialised tensors of the device and type of `weights`; for a fake tensor mode."""

        def tensor(leaf: Any) -> Any:
            if not isinstance(leaf, _Shape):
                return leaf
            dtype = weights.dtype if leaf.dtype.is_floating_point else leaf.dtype
            return torch.empty(leaf.shape, dtype=dtype, device=weights.device)

        args, kwargs = tree_map(tensor, (self.args, self.kwargs))
        return args, kwargs


@dataclass(frozen=True, slots=True)
class _Shape:
    shape: torch.Size
    dtype: torch.dtype


# counts, not tensors, and only as long as the UNet lives: pictures of one model and size need one count
_COUNTED: WeakKeyDictionary[Any, dict[Hashable, PassFlops]] = WeakKeyDictionary()


def count_flops(unet: Any, branch: int, shapes: InputShapes) -> PassFlops | None:
    """FLOPs of a full and a reuse pass on inputs like `shapes`, attention counted as matrix products.

    Nothing is computed, no weight is moved and no hook is run. None where weights are not in place (accelerate's
    sequential offload keeps them elsewhere). Inputs of the same shapes are counted once per UNet and set of weights.
    """
    parameters = list(unet.parameters())
    if any(parameter.is_meta for parameter in parameters):
        return None
    counted = _COUNTED.setdefault(unet, {})
    key = (branch, len(parameters), repr(shapes))
    if key not in counted:
        counted[key] = _count(unet, branch, shapes, parameters[0])
    return counted[key]


def count_plan_flops(unet: Any, options: DeepCache, shapes: InputShapes) -> PassFlops | None:
    """The same for all that `options` may run; where a plan mixes branches, a reuse pass is the mean of the plan's."""
    if options.passes is None:
        return count_flops(unet, options.branch, shapes)
    branches = [branch for branch in options.passes if branch is not None] or [0]
    counts = {branch: count_flops(unet, branch, shapes) for branch in set(branches)}
    known = [count for branch in branches if (count := counts[branch]) is not None]
    if len(known) < len(branches):
        return None
    return PassFlops(full=known[0].full, reuse=round(sum(count.reuse for count in known) / len(known)))


def _count(unet: Any, branch: int, shapes: InputShapes, weights: Tensor) -> PassFlops:
    split = DiffusersUNetSplit(bare_view(unet), branch)
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH):
        args, kwargs = shapes.empty_beside(weights)
        with FlopCounterMode(display=False) as counter:
            _, features = split.full(*args, **kwargs)
        full = counter.get_total_flops()
        args, kwargs = shapes.empty_beside(weights)
        with FlopCounterMode(display=False) as counter:
            split.reuse(features, *args, **kwargs)
    return PassFlops(full=full, reuse=counter.get_total_flops())
