"""Tells in a millisecond that nobody touched a module; what a touch amounts to is for others to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import is_, itemgetter
from typing import Any

import torch
from torch import Tensor, nn

DECIDING = ("processor", "forward")  # attributes that are objects and decide what is computed
OF_EVERY_MODULE = frozenset({*vars(nn.Module()), "_compiled_call_impl"})
_CHILDREN, _HOOKS = itemgetter("_modules"), itemgetter("_forward_hooks", "_forward_pre_hooks")
_TENSORS = itemgetter("_parameters", "_buffers")


class Snapshot:
    """What a module and those below it hold: their attributes, and what is in those that are lists or dictionaries.

    Both are compared, an attribute with the object that it was and that object with what was in it, so that a list in
    place of an equal one is noticed once either is changed. Loops in Python would take five times as long: these are
    maps, and comparisons of whole lists. Parameters are not held, or replaced ones would stay in memory; of them the
    types and strides are compared.
    """

    def __init__(self, module: nn.Module) -> None:
        self.modules = [*module.modules()]
        now = [*map(vars, self.modules)]
        self._deciding = [(one, key) for one in now for key in DECIDING if isinstance(_inside(one.get(key)), dict)]
        self._objects = [one[key] for one, key in self._deciding]
        own = [(key, value) for one in now for key, value in one.items() if key not in OF_EVERY_MODULE]
        own += [("", value) for one in self._objects for value in vars(one).values()]
        self._lists = [value for _, value in own if isinstance(value, list)]
        self._dicts = [value for key, value in own if isinstance(value, dict) and not key.startswith("_")]
        self._dicts += [*map(_CHILDREN, now), *chain.from_iterable(map(_HOOKS, now)), *map(_inside, self._objects)]
        self._of_modules = [*map(_CHILDREN, now)]
        self._of_tensors = [*chain.from_iterable(map(_TENSORS, now))]
        self._attributes = [*map(dict.copy, now)]
        self._types = [*map(type, self.modules)]
        self._children = [*_values(self._of_modules)]
        self._contents = self._inner()
        self._forms = _forms(_present(self._of_tensors))

    def is_same(self) -> bool:
        """Whether all is as it was; False if anything was replaced by what is not equal, added or removed."""
        try:
            if [*map(vars, self.modules)] != self._attributes or [*map(type, self.modules)] != self._types:
                return False
        except Exception:  # noqa: BLE001  another tensor or array, which have no one truth
            return False
        objects = [one[key] for one, key in self._deciding]
        same = _are_same(objects, self._objects) and _are_same(self._inner(), self._contents)
        return same and _forms(_present(self._of_tensors)) == self._forms

    def tensors(self) -> list[Tensor]:
        """The present parameters and buffers of the module and of all below it."""
        if _are_same([*_values(self._of_modules)], self._children):
            return _present(self._of_tensors)
        return _present(chain.from_iterable(map(_TENSORS, map(vars, self.modules[0].modules()))))

    def _inner(self) -> list[Any]:
        """What is in lists and dictionaries: children, hooks, scales of adapters, numbers of attention processors."""
        lists, dicts = [*filter(None, self._lists)], [*filter(None, self._dicts)]
        keys, values = chain.from_iterable(dicts), _values(dicts)
        return [*lists, *dicts, *map(len, lists), *map(len, dicts), *keys, *values, *chain.from_iterable(lists)]


def _inside(value: Any) -> Any:
    return getattr(value, "__dict__", None)


def _present(dicts: Iterable[dict[str, Tensor | None]]) -> list[Tensor]:
    return [tensor for tensor in _values(dicts) if tensor is not None]


def _values(dicts: Iterable[dict[Any, Any]]) -> Iterator[Any]:
    return chain.from_iterable(map(dict.values, filter(None, dicts)))


def _are_same(some: list[Any], others: list[Any]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


def _forms(tensors: list[Tensor]) -> tuple[list[torch.dtype], list[tuple[int, ...]]]:
    return [tensor.dtype for tensor in tensors], [tensor.stride() for tensor in tensors]
