"""Whether a host keeps a module's weights where its code can take them from, as they are."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from ._obstacle import Obstacle

# ComfyUI's: functions that make a weight of the stored one at each call, and memory that is filled as it is read
_FUNCTIONS, _VIRTUAL = ("weight_function", "bias_function"), "_v"
_MADE_ANEW = Obstacle("calls of a model whose weights are made anew for each", "a graph would keep those of one call")
_ELSEWHERE = Obstacle(
    "calls of a model that is not all on one device", "a graph would not move weights as they are used"
)


class Placement:
    """What stands in the way of graphs of a module, for as long as nobody touches its weights."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._known: dict[torch.device, Obstacle | None] = {}

    def obstacle(self, device: torch.device) -> Obstacle | None:
        """Why inputs on this device cannot go through a graph, if so."""
        if device not in self._known:
            self._known[device] = self._found(device)
        return self._known[device]

    def touched(self) -> None:
        """Look anew: weights were replaced or moved."""
        self._known.clear()

    def _found(self, device: torch.device) -> Obstacle | None:
        for part in self._module.modules():
            if hasattr(part, _VIRTUAL) or any(getattr(part, name, None) for name in _FUNCTIONS):
                return _MADE_ANEW
        tensors = chain(self._module.parameters(), self._module.buffers())
        return None if all(tensor.device == device for tensor in tensors) else _ELSEWHERE


def without_gradients(module: nn.Module) -> list[nn.Parameter]:
    """Freeze the parameters of a module that hosts run for inference only; those that were not frozen.

    A graph is for weights that ask for gradients, or for such that do not: a LoRA's would be compiled anew.
    """
    asking = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    return asking


def with_gradients(parameters: list[nn.Parameter]) -> None:
    """Undo `without_gradients`."""
    for parameter in parameters:
        with torch.inference_mode(parameter.is_inference()):  # else torch refuses
            parameter.requires_grad_(True)
