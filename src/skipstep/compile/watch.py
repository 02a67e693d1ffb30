"""Notices when a module is no longer what a graph was traced from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import is_
from typing import Any
from weakref import ref

from torch import Tensor, nn

from ._snapshot import DECIDING, OF_EVERY_MODULE, Snapshot

_PLAIN = (bool, int, float, str, type(None))
_CONSTANT = frozenset({bool, int, str, type(None)})


class ModelWatch:
    """The children, plain attributes and hooks of a module and of all below it, as they are now.

    A traced graph has these for constants: LoRA layers and their scales, FreeU's factors, attention processors.
    Nothing is copied. A check of SDXL takes a millisecond or two while nobody touches the module, and some more after.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._seen = list(_state(module))
        self._snapshot = Snapshot(module)
        self._weights = _Weights(self._snapshot.tensors())

    def is_changed(self) -> bool:
        """Whether a graph traced from the module would now be another."""
        if self._snapshot.is_same():
            return False
        now = list(_state(self._module))
        if len(now) != len(self._seen):
            return True
        if any(one is not other and one != other for one, other in zip(now, self._seen, strict=True)):
            return True
        self._snapshot = Snapshot(self._module)  # what was touched makes no difference
        return False

    def are_weights_changed(self) -> bool:
        """Whether tensors were replaced or written to since the last time that this was asked.

        A write through `.data` leaves no trace, and is not seen.
        """
        before, self._weights = self._weights, _Weights(self._snapshot.tensors())
        return not before.are(self._weights)


def traced_state(module: nn.Module) -> tuple[str, ...]:
    """What a graph of the module has for constants, in words that are the same in every process."""
    tensors = (f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in _tensors(module))
    return *map(_word, _state(module)), *tensors


def _state(module: nn.Module) -> Iterator[Any]:
    for name, child in module.named_modules():
        yield name
        yield child
        yield type(child)
        if child._forward_hooks or child._forward_pre_hooks:
            yield tuple(child._forward_pre_hooks.values())
            yield tuple(child._forward_hooks.values())
        for key, value in vars(child).items():
            if key in OF_EVERY_MODULE:
                continue
            if type(value) in _CONSTANT:  # most are, and this runs at every full pass
                yield value
            elif key in DECIDING:
                yield value
                yield from (plain for number in getattr(value, "__dict__", {}).values() for plain in _plain(number))
            elif not (isinstance(value, dict) and key.startswith("_")):  # a configuration, a cache
                yield from _plain(value)
        for tensor in chain(child._parameters.values(), child._buffers.values()):
            if tensor is not None:  # compiled code reads memory as it was laid out: `channels_last` is another
                yield tensor.dtype
                yield tensor.stride()


def _plain(value: Any) -> Iterator[Any]:
    """The value itself, or what is plain in it: active adapters are lists, their scales are dictionaries.

    Functions in a list are what makes weights anew (ComfyUI's), and themselves.
    """
    if isinstance(value, float):
        yield float(f"{value:.12g}")  # diffusers multiplies a LoRA's scale for a pass and divides it again
    elif isinstance(value, _PLAIN):
        yield value
    elif isinstance(value, (list, tuple)):
        yield tuple(plain for item in value for plain in ([item] if callable(item) else _plain_item(item)))
    elif isinstance(value, dict):
        yield tuple((name, plain) for name, item in value.items() for plain in _plain_item(item))


def _plain_item(item: Any) -> Iterator[Any]:
    if isinstance(item, _PLAIN):
        yield from _plain(item)


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_word, value))})"
    if isinstance(value, _PLAIN):
        return repr(value)
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())


class _Weights:
    """Which tensors a module had, and what tells that one was written to; none is held.

    A new tensor may lie where a deleted one was.
    """

    def __init__(self, tensors: list[Tensor]) -> None:
        self._objects = [*map(ref, tensors)]
        self._marks = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]

    def are(self, others: _Weights) -> bool:
        """Whether these are the same tensors with the same in them."""
        mine, theirs = self._objects, others._objects  # a tensor has one reference to it for as long as one is held
        return len(mine) == len(theirs) and all(map(is_, mine, theirs)) and self._marks == others._marks
