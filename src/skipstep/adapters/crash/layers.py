"""Where a causal LM of transformers has its decoder layers."""

from __future__ import annotations

from typing import Any

from torch import nn

from ...errors import AdapterError


def decoder_layers(model: Any) -> nn.ModuleList:
    """The one list of layers that is as long as the configuration says."""
    return model.get_submodule(layers_name(model))  # type: ignore[no-any-return]


def layers_name(model: Any) -> str:
    """The name of that list, as `model.layers` of a Llama or `transformer.h` of a GPT-2.

    Raises:
        AdapterError: if there is no such list, or more than one.
    """
    config = getattr(model, "config", None)
    count = getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int):
        raise AdapterError(f"{type(model).__name__} has no config.num_hidden_layers; give a causal LM of transformers")
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [
        name
        for name, module in lists
        if len(module) == count and not any(name.startswith(f"{other}.") for other, _ in lists)
    ]
    if len(outer) != 1:
        found = ", ".join(outer) or "none"
        raise AdapterError(f"{type(model).__name__} must have one list of its {count} layers, found {found}")
    return str(outer[0])
