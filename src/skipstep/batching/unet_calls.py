"""UNet calls of several rows as one: their tensors one below the other, and what comes out taken apart again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

FULL, REUSE = "F", "r"
_ARGUMENTS = ("sample", "timestep", "encoder_hidden_states")  # of a UNet call, in this order


@dataclass(frozen=True, slots=True)
class UNetCall:
    """One pass that a row waits for, with `leaves` and `tree` of the UNet's arguments by name.

    `samples` is the first dimension of the sample: two for a picture with guidance, a frame each for a clip.
    """

    kind: str
    branches: tuple[int, ...]
    features: Tensor | None  # of a reuse pass
    leaves: tuple[Any, ...]
    tree: TreeSpec
    samples: int

    @classmethod
    def of(
        cls,
        kind: str,
        branches: tuple[int, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        features: Tensor | None = None,
    ) -> UNetCall:
        """The call, its timestep one for each sample."""
        named = {**dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
        sample = named["sample"]
        named["timestep"] = torch.as_tensor(named["timestep"], device=sample.device).expand(len(sample))
        leaves, tree = tree_flatten(dict(sorted(named.items())))
        return cls(kind, branches, features, tuple(leaves), tree, len(sample))

    @property
    def likeness(self) -> Hashable:
        """Equal for calls that can be one: the same arguments, of one shape but for the number of samples."""
        features = () if self.features is None else (tuple(self.features.shape[1:]), self.features.dtype)
        branches = self.branches if self.kind == REUSE else ()
        return self.kind, branches, features, str(self.tree), tuple(self._word(leaf) for leaf in self.leaves)

    def _word(self, leaf: Any) -> Hashable:
        if isinstance(leaf, Tensor):
            if leaf.ndim and len(leaf) == self.samples:
                return tuple(leaf.shape[1:]), leaf.dtype, leaf.device
            return id(leaf)  # belongs to no sample: only the same tensor is as good
        return leaf if isinstance(leaf, (bool, int, float, str, type(None))) else id(leaf)


def joined(calls: Sequence[UNetCall], *, samples: int) -> tuple[Tensor | None, dict[str, Any]]:
    """Features and arguments of calls of one likeness as one call; the last sample is repeated to have `samples`."""
    first = calls[0]
    if len(calls) == 1 and samples == first.samples:
        return first.features, tree_unflatten(list(first.leaves), first.tree)
    missing = samples - sum(call.samples for call in calls)

    def below(parts: Sequence[Tensor]) -> Tensor:
        last, each = parts[-1], len(parts[0]) // first.samples
        return torch.cat([*parts, *[last[-each:]] * missing])

    leaves = [
        below(parts) if isinstance(parts[0], Tensor) and parts[0].ndim and len(parts[0]) == first.samples else parts[0]
        for parts in zip(*(call.leaves for call in calls), strict=True)
    ]
    features = None if first.features is None else below([call.features for call in calls if call.features is not None])
    return features, tree_unflatten(leaves, first.tree)


def parted(made: Any, calls: Sequence[UNetCall], *, samples: int) -> list[Any]:
    """What a joined call gave, for each of the calls; samples that were added are dropped.

    Features of a clip have a row for each of its frames.
    """
    ends = [sum(call.samples for call in calls[: index + 1]) for index in range(len(calls))]

    def part(leaf: Any, call: UNetCall, end: int) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        each = len(leaf) // samples
        return leaf[each * (end - call.samples) : each * end]

    return [tree_map(partial(part, call=call, end=end), made) for call, end in zip(calls, ends, strict=True)]
