"""What a traced graph takes for granted about a UNet call: its structure, and the shape and type of every tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ..errors import UnsupportedFeatureError

Described = tuple[tuple[int, ...], torch.dtype, torch.device]


@dataclass(frozen=True, slots=True)
class CallTree:
    """The arguments of a call with its tensors taken out; numbers, strings and None stay in."""

    spec: TreeSpec
    leaves: tuple[Any, ...]  # None where a tensor was
    is_tensor: tuple[bool, ...]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[CallTree, tuple[Tensor, ...]]:
        """The tree, and its tensors in order.

        Raises:
            UnsupportedFeatureError: if an argument is neither a tensor nor plain data, so that no graph can be named
                after it.
        """
        leaves, spec = tree_flatten((args, kwargs))
        for leaf in leaves:
            if not isinstance(leaf, (Tensor, int, float, str, torch.dtype, type(None))):
                raise UnsupportedFeatureError(f"a compiled pass takes tensors and plain values, got {type(leaf)}")
        is_tensor = tuple(isinstance(leaf, Tensor) for leaf in leaves)
        plain = tuple(None if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        return cls(spec, plain, is_tensor), tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    def rebuild(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments with these tensors in place; lists and dictionaries are new."""
        rest = iter(tensors)
        leaves = [next(rest) if marked else leaf for leaf, marked in zip(self.leaves, self.is_tensor, strict=True)]
        args, kwargs = tree_unflatten(leaves, self.spec)
        return args, kwargs

    @property
    def key(self) -> Hashable:
        """Equal for calls of one structure; 1, 1.0 and True differ, and so do None and a tensor."""
        return str(self.spec), self.is_tensor, tuple((type(leaf).__name__, leaf) for leaf in self.leaves)


def described(tensors: Sequence[Tensor]) -> tuple[Described, ...]:
    """Shape, type and device of each tensor."""
    return tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in tensors)


def digest(*parts: object) -> str:
    """A short name for files: the same in every process for the same parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
