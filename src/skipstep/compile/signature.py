"""What a traced graph takes for granted about a UNet call: its structure, and the shape and type of every tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from ._obstacle import Obstacle

Described = tuple[tuple[int, ...], torch.dtype, torch.device]
_PLAIN = (int, float, str, torch.dtype, type(None))


@dataclass(frozen=True, slots=True)
class CallTree:
    """The arguments of a call with its tensors taken out; all else stays in."""

    spec: TreeSpec
    leaves: tuple[Any, ...]  # None where a tensor was
    is_tensor: tuple[bool, ...]

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[CallTree, tuple[Tensor, ...]]:
        """The tree, and its tensors in order."""
        leaves, spec = tree_flatten((args, kwargs))
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
    def stranger(self) -> type | None:
        """What an argument is that is neither a tensor nor plain data, so that no graph can be named after it."""
        return next((type(leaf) for leaf in self.leaves if not isinstance(leaf, _PLAIN)), None)

    @property
    def obstacle(self) -> Obstacle | None:
        """That there is a stranger."""
        if self.stranger is None:
            return None
        named = f"{self.stranger.__module__}.{self.stranger.__qualname__}".removeprefix("builtins.")
        return Obstacle(f"calls with {named}", "graphs take tensors and plain values")

    @property
    def key(self) -> Hashable:
        """Equal for calls of one structure; 1, 1.0 and True differ, and so do None and a tensor."""
        return str(self.spec), self.is_tensor, tuple((type(leaf).__name__, repr(leaf)) for leaf in self.leaves)


def described(tensors: Sequence[Tensor]) -> tuple[Described, ...]:
    """Shape, type and device of each tensor."""
    return tuple((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in tensors)


def on_one_device(named: dict[str, Any]) -> dict[str, Any]:
    """The timestep as a tensor beside the sample: as a number it would be a constant of the graph.

    Whole ones become float32, as the UNet itself makes them, so that samplers with and without whole timesteps share
    graphs.
    """
    sample, timestep = named["sample"], named["timestep"]
    if not isinstance(timestep, Tensor):
        timestep = torch.tensor(timestep, dtype=torch.float32)
    if not timestep.is_floating_point():
        timestep = timestep.float()
    return {**named, "timestep": timestep.to(sample.device)}


def ambient(device: torch.device) -> Hashable:
    """What torch was told beside the call that code is made by: autocast, the precision of products, determinism."""
    autocast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    computed = torch.get_autocast_dtype(device.type) if autocast else None
    return computed, torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()


def machine(device: torch.device) -> tuple[str, ...]:
    """What compiled code depends on besides the model and the call."""
    if device.type == "cuda":
        return torch.__version__, torch.cuda.get_device_name(device)
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())


def digest(*parts: object) -> str:
    """A short name for files: the same in every process for the same parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
