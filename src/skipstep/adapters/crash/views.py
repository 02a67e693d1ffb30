"""A causal LM with other layers that shares its weights with the full one, which is not touched."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from ...errors import AdapterError
from .composition import Composition
from .layers import layers_name

Modules = dict[int, nn.Module]  # views by id of what they show
Parameters = dict[int, nn.Parameter]


def layered_view(model: Any, composition: Composition) -> Any:
    """A model of the same class that runs `composition.slots`.

    All modules are views with dictionaries of their own. Frozen parameters are new ones over the same memory, so that
    whether they are trainable is not the full model's concern; trained layers are copies. Each slot is a module of
    its own whose `layer_idx` is its place, which is where it keeps keys and values when text is generated.

    Raises:
        AdapterError: if the model is spread by accelerate, or a layer does not say its number.
    """
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        raise AdapterError("the model is spread over devices by accelerate; load it without device_map")
    name = layers_name(model)
    full = model.get_submodule(name)
    config = _config_of_slots(model.config, composition)
    frozen: Parameters = {}
    slots = nn.ModuleList()
    for place, number in enumerate(composition.slots):
        trained = number in composition.trained
        modules: Modules = {}
        layer = _view(full[number], modules, _Weights({} if trained else frozen, trained=trained))
        _number(layer, number, place)
        slots.append(layer)
    slots.train(full.training)
    view = _view(model, {id(full): slots}, _Weights(frozen, trained=False))
    for module in view.modules():
        if getattr(module, "config", None) is model.config:
            module.config = config
    return view


class _Weights:
    """Parameters for a view: the same one for the same original."""

    def __init__(self, known: Parameters, *, trained: bool) -> None:
        self._known = known
        self._trained = trained

    def __call__(self, parameter: nn.Parameter) -> nn.Parameter:
        if self._trained and not parameter.is_floating_point():
            raise AdapterError("a trained layer is quantised; load the model in float32 or bfloat16")
        if type(parameter) is not nn.Parameter:  # a quantiser's, which holds more than numbers
            return parameter
        if id(parameter) not in self._known:
            values = parameter.detach().clone() if self._trained else parameter.detach()
            self._known[id(parameter)] = nn.Parameter(values, requires_grad=self._trained)
        return self._known[id(parameter)]


def _view(module: nn.Module, modules: Modules, weights: _Weights) -> nn.Module:
    if id(module) in modules:
        return modules[id(module)]
    view = module.__class__.__new__(module.__class__)
    modules[id(module)] = view
    view.__dict__ = {
        name: copy.copy(value) if isinstance(value, (dict, list, set)) else value
        for name, value in module.__dict__.items()
    }
    view._parameters = {name: value if value is None else weights(value) for name, value in module._parameters.items()}
    view._modules = {
        name: child if child is None else _view(child, modules, weights) for name, child in module._modules.items()
    }
    return view


def _number(layer: nn.Module, number: int, place: int) -> None:
    numbered: list[Any] = [module for module in layer.modules() if getattr(module, "layer_idx", None) == number]
    if not numbered:
        raise AdapterError(f"layer {number} has no part with its layer_idx; its keys and values would be mixed up")
    for module in numbered:
        module.layer_idx = place


def _config_of_slots(config: Any, composition: Composition) -> Any:
    own = copy.deepcopy(config)
    types = getattr(config, "layer_types", None)
    own.num_hidden_layers = len(composition.slots)
    if types is not None:
        own.layer_types = [types[number] for number in composition.slots]
    return own
