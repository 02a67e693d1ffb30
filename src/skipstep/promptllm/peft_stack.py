"""Adapters on a transformers model through PEFT: those of one kind at a time, none of them ever merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..adapters import AdapterInfo
from ..adapters.families import PLAIN, PROMPTS
from ..adapters.peft_model import check_under, fill_adapter, inspected_tensors, put_adapter, quietly
from ..errors import AdapterError
from .adapter_use import Stacked
from .summed import summed

MAX_LOADED = 8
LORA = "LORA"
SCALED = PLAIN | {"AdaLoRA", "LoHa", "LoKr"}  # what they add to a layer is multiplied with the scale, and adds up


class PeftStack:
    """The eight adapters that were used last, of one PEFT type; those of another take their place.

    Between calls the model answers as if there were none. PEFT adds layers to `model` while adapters are there.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._peft: Any = None
        self._kind = ""
        self._names: dict[str, str] = {}  # PEFT's by identity, the one that was used last last
        self._made = 0

    @contextmanager
    def used(self, stack: Sequence[Stacked]) -> Iterator[Any]:
        """The model with the sum of these adapters, or the base model where there are none.

        Raises:
            AdapterError: if they do not add up, or a file is gone or changed.
        """
        check_stack(stack)
        if not stack:
            with self._disabled() as model:
                yield model
            return
        names = [self._load(stacked.info) for stacked in stack]
        if self._kind in PROMPTS:
            self._peft.set_adapter(names[0])
            yield self._peft
            return
        self._peft.base_model.set_adapter(names, inference_mode=True)
        with self._scaled(dict(zip(names, (stacked.scale for stacked in stack), strict=True))):
            yield self._peft

    @contextmanager
    def rows(self, stacks: Sequence[Sequence[Stacked]]) -> Iterator[tuple[Any, list[str] | None]]:
        """The model, and PEFT's `adapter_names` of a batch whose rows have stacks of their own.

        What a row's stack adds up to is one LoRA for the while, of the sum of the ranks.

        Raises:
            AdapterError: if a row has an adapter other than LoRA and rsLoRA; PEFT would leave those out, or mix rows.
        """
        other = next((s.info for stack in stacks for s in stack if s.info.family not in PLAIN), None)
        if other is not None:
            raise AdapterError(
                f"family: rows of a batch cannot have a {other.family} ({other.path.name}) each; only LoRA and rsLoRA"
            )
        distinct = {_key(stack): stack for stack in stacks if stack}
        if not distinct:
            with self._disabled() as model:
                yield model, None
            return
        self._become(LORA)
        names: dict[tuple[str, ...], str] = {}
        try:
            for key, stack in distinct.items():
                self._made += 1
                names[key] = f"ad{self._made}"
                self._add(names[key], *summed(stack))
            self._peft.base_model.set_adapter(list(names.values()), inference_mode=True)
            yield self._peft, [names.get(_key(stack), "__base__") for stack in stacks]
        finally:
            for name in names.values():
                self._delete(name)

    def forget(self, adapter: AdapterInfo) -> None:
        """Take an adapter off, and give its memory back."""
        name = self._names.pop(adapter.identity, None)
        if name is not None:
            self._delete(name)

    def _load(self, info: AdapterInfo) -> str:
        check_under(self._model, info.family)
        self._become(str(info.config["peft_type"]))
        name = self._names.pop(info.identity, None)
        if name is None:
            while len(self._names) >= MAX_LOADED:
                self._delete(self._names.pop(next(iter(self._names))))
            self._made += 1
            name = f"ad{self._made}"
            self._add(name, dict(info.config), inspected_tensors(info))
        self._names[info.identity] = name
        return name

    def _become(self, kind: str) -> None:
        """Take off what is of another kind: to the bit, since nothing was merged."""
        if kind != self._kind:
            for name in self._names.values():
                self._delete(name)
            self._names.clear()
            self._kind = kind

    def _add(self, name: str, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        self._peft = put_adapter(self._model if self._peft is None else self._peft, config, name=name)
        try:
            fill_adapter(self._peft, tensors, name=name)
        except BaseException:
            self._delete(name)
            raise
        self._peft.requires_grad_(False)
        self._peft.eval()

    def _delete(self, name: str) -> None:
        """Take one off; with the last, all that PEFT put into the model."""
        with quietly():
            if set(self._peft.peft_config) == {name}:
                if self._kind not in PROMPTS:
                    self._model = self._peft.base_model.unload()
                self._peft = None
            elif name in self._peft.peft_config:
                self._peft.delete_adapter(name)

    @contextmanager
    def _disabled(self) -> Iterator[Any]:
        if self._peft is None or self._kind in PROMPTS:
            yield self._model
            return
        with self._peft.disable_adapter():
            yield self._peft.get_base_model()

    @contextmanager
    def _scaled(self, scales: dict[str, float]) -> Iterator[None]:
        own: list[tuple[dict[str, float], str, float]] = []
        for module in self._peft.modules():
            scaling = getattr(module, "scaling", None)
            if isinstance(scaling, dict):
                own += [(scaling, name, scaling[name]) for name in scales if name in scaling]
        try:
            for scaling, name, value in own:
                scaling[name] = value * scales[name]
            yield
        finally:
            for scaling, name, value in own:
                scaling[name] = value


def check_stack(stack: Sequence[Stacked]) -> None:
    """See that adapters add up.

    Raises:
        AdapterError: if they are of several kinds, or of one that can only act alone and whole.
    """
    for stacked in stack:
        if stacked.info.family in SCALED:
            continue
        if len(stack) > 1:
            raise AdapterError(
                f"family: {stacked.info.family} ({stacked.info.path.name}) cannot be stacked; use it alone"
            )
        if stacked.scale != 1:
            raise AdapterError(
                f"scale: {stacked.info.family} ({stacked.info.path.name}) acts as a whole; use 1, or none"
            )
    kinds = {str(stacked.info.config["peft_type"]) for stacked in stack}
    if len(kinds) > 1:
        raise AdapterError(f"family: {' and '.join(sorted(kinds))} cannot be stacked; stack adapters of one kind")


def _named(stacked: Stacked) -> str:
    return f"{stacked.info.family} ({stacked.info.path.name})"


def _key(stack: Sequence[Stacked]) -> tuple[str, ...]:
    return tuple(sorted(stacked.identity for stacked in stack))
