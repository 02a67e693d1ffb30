"""Counts the floating point operations of both passes on tensors without storage."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from ._view import bare_view
from .mixed_unet import DiffusersMixedSplit
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
        """The arguments as uninitialised tensors of the device and type of `weights`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchCount:
    """What was counted at one branch."""

    flops: PassFlops
    feature_bytes: int  # of the deep features of one full pass, in the type that the UNet computes in


# counts, not tensors, and only as long as the UNet lives: pictures of one model and size need one count
_COUNTED: WeakKeyDictionary[Any, dict[Hashable, BranchCount]] = WeakKeyDictionary()


def count_flops(unet: Any, branch: int, shapes: InputShapes) -> PassFlops | None:
    """FLOPs of a full and a reuse pass on inputs like `shapes`, attention counted as matrix products.

    Nothing is computed, no weight is moved and no hook is run. None where weights are not in place (accelerate's
    sequential offload keeps them elsewhere). Inputs of the same shapes are counted once per UNet and set of weights.
    """
    if any(parameter.is_meta for parameter in unet.parameters()):
        return None
    return count_branches(unet, (branch,), shapes)[branch].flops


def count_branches(unet: Any, branches: Iterable[int], shapes: InputShapes) -> dict[int, BranchCount]:
    """The same for several branches, with one full pass, and the size of their features."""
    parameters = list(unet.parameters())
    counted = _COUNTED.setdefault(unet, {})
    state = (len(parameters), parameters[0].dtype, repr(shapes))
    keys = {branch: (branch, *state) for branch in branches}
    missing = tuple(branch for branch, key in keys.items() if key not in counted)
    if missing:
        counted.update({keys[branch]: count for branch, count in _count(unet, missing, shapes, parameters[0]).items()})
    return {branch: counted[key] for branch, key in keys.items()}


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


def _count(unet: Any, branches: tuple[int, ...], shapes: InputShapes, weights: Tensor) -> dict[int, BranchCount]:
    counts: dict[int, BranchCount] = {}
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        split, weights = DiffusersMixedSplit(_weightless(unet), branches), weights.to("meta")
        args, kwargs = shapes.empty_beside(weights)
        with FlopCounterMode(display=False) as full:
            _, features = split.full(*args, **kwargs)
        for branch, tensor in features.items():
            args, kwargs = shapes.empty_beside(weights)
            with FlopCounterMode(display=False) as reuse:
                split.at(branch).reuse(tensor, *args, **kwargs)
            flops = PassFlops(full=full.get_total_flops(), reuse=reuse.get_total_flops())
            counts[branch] = BranchCount(flops=flops, feature_bytes=tensor.nbytes)
    return counts


def _weightless(unet: Any) -> Any:
    """A view of the UNet that runs no hooks, with all weights on "meta": they may be spread over devices."""
    view = bare_view(unet)
    for module in view.modules():
        for name in ("_parameters", "_buffers"):
            tensors = getattr(module, name).items()
            setattr(module, name, {key: tensor if tensor is None else tensor.to("meta") for key, tensor in tensors})
    return view
