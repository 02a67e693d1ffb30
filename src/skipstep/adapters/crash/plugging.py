"""Puts trained outer layers into the full model, and takes them out to the last bit."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import AdapterError, AttachError
from .emulator import Emulator
from .layers import decoder_layers
from .outer_file import OuterLayers


def plug(full: Any, outer: OuterLayers) -> PluggedLayers:
    """Overwrite the full model's layers with trained ones until `revert`; values take the model's type.

    Raises:
        AdapterError: if layers, names or shapes are not the model's; nothing is changed then.
    """
    layers = decoder_layers(full)
    if outer.total is not None and outer.total != len(layers):
        raise AdapterError(f"the layers are of a model with {outer.total} and this one has {len(layers)}")
    values: list[tuple[Tensor, Tensor]] = []
    for number, weights in outer.layers.items():
        if not 0 <= number < len(layers):
            raise AdapterError(f"there is no layer {number}; the model has 0..{len(layers) - 1}")
        values += _pairs(layers[number], number, weights)
    return PluggedLayers(values)


def trained_outer_layers(emulator: Emulator) -> OuterLayers:
    """What an emulator has learned, without a file; the tensors are its own, not copies."""
    layers = {number: dict(layer.state_dict()) for number, layer in emulator.trained_layers().items()}
    return OuterLayers(layers=layers, total=emulator.composition.total)


class PluggedLayers:
    """Weights that were overwritten, and what they were; also a context manager that reverts."""

    def __init__(self, values: list[tuple[Tensor, Tensor]]) -> None:
        self._before = [(weight, weight.detach().clone()) for weight, _ in values]
        with torch.no_grad():
            for weight, value in values:
                weight.copy_(value)
        self._plugged_hashes = _hashes(self._before)
        self._plugged = True

    def revert(self) -> None:
        """Put the earlier weights back, bit for bit; a second call does nothing.

        Raises:
            AttachError: if weights are no longer those that were plugged in, by another plug or by training; nothing is
                changed then.
        """
        if not self._plugged:
            return
        if _hashes(self._before) != self._plugged_hashes:
            raise AttachError("the layers were changed after they were plugged in; revert the later change first")
        with torch.no_grad():
            for weight, value in self._before:
                weight.copy_(value)
        self._plugged = False
        self._before = []

    def __enter__(self) -> PluggedLayers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.revert()


def _hashes(values: list[tuple[Tensor, Tensor]]) -> list[int]:
    return [int(torch.hash_tensor(weight.detach()).view(torch.int64)) for weight, _ in values]


def _pairs(layer: nn.Module, number: int, weights: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    own = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    own = {name: own[name] for name in layer.state_dict()}
    if set(own) != set(weights):
        name = sorted(set(own) ^ set(weights))[0]
        raise AdapterError(f"layer {number}: {name} is {'missing' if name in own else 'not a weight of this model'}")
    for name, weight in own.items():
        if weight.shape != weights[name].shape or not weight.is_floating_point():
            raise AdapterError(
                f"layer {number}: {name} must be {tuple(weight.shape)} of floating point numbers, "
                f"got {tuple(weights[name].shape)} for {weight.dtype}"
            )
    return [(weight, weights[name]) for name, weight in own.items()]
