"""Which modules a config names, in plain names: regular expressions are refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from ..errors import AdapterError
from .config import Config

MAX_NAMES = 4096
Value = TypeVar("Value")
_PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*", re.ASCII)
_LAYER = re.compile(r"\.(\d{1,4})(?=\.)")
_OUTPUT_LAYERS = ("lm_head", "embed_out", "output_layer")


def plain_name(name: Any, field: str) -> str:
    """A module's name or its end.

    Raises:
        AdapterError: if it is a regular expression or no name.
    """
    if not isinstance(name, str) or len(name) > 256 or not _PLAIN.fullmatch(name):
        raise AdapterError(f"{field}: {str(name)[:80]!r} is no plain module name; regular expressions are refused")
    return name


def names(value: Any, field: str) -> tuple[str, ...]:
    """A list of plain names."""
    if isinstance(value, str):
        raise AdapterError(f"{field}: {value[:80]!r} is a regular expression, which is refused; list the modules")
    if not isinstance(value, list) or not 0 < len(value) <= MAX_NAMES:
        raise AdapterError(f"{field}: must be a list of 1..{MAX_NAMES} module names")
    return tuple(plain_name(name, field) for name in value)


def ends(module: str) -> list[str]:
    """All plain names that mean a module: the whole name, and what follows each of its dots."""
    parts = module.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def by_module(
    pattern: Mapping[str, Value], field: str, *, modules: Collection[str], default: Value
) -> dict[str, Value]:
    """The value of each module: that of the first name that means it, else the default.

    A name is the end of a module's or, after a `^`, the whole of it.

    Raises:
        AdapterError: if a name is not plain, or means no module of the adapter.
    """
    if len(pattern) > MAX_NAMES:
        raise AdapterError(f"{field}: has {len(pattern)} names; at most {MAX_NAMES} are read")
    order = {name: place for place, name in enumerate(pattern)}
    for name in order:
        plain_name(name.removeprefix("^"), field)
    meant: set[str] = set()
    found = {}
    for module in modules:
        matching = [name for name in (f"^{module}", *ends(module)) if name in order]
        meant.update(matching)
        found[module] = pattern[min(matching, key=order.__getitem__)] if matching else default
    lost = next((name for name in order if name not in meant), None)
    if lost is not None:
        raise AdapterError(f"{field}: names {lost!r}, which is no module of the adapter")
    return found


def check_targets(config: Config, modules: Collection[str], linears: Collection[str] | None) -> None:
    """See that the adapter has exactly the modules that its config names.

    `linears` are the base model's. Without them the layers are compared with each other: each name must be in all of
    them, and none may be missing between.

    Raises:
        AdapterError: names the modules that are missing or too many.
    """
    value = config.fields.get("target_modules")
    targets = None if value == "all-linear" else frozenset(names(value, "target_modules"))
    layers = _chosen_layers(config)
    extra = [] if targets is None else [module for module in modules if targets.isdisjoint(ends(module))]
    if extra:
        raise AdapterError(f"target_modules: does not name {_some(extra)}, of which there are tensors")
    met = {end for module in modules for end in ends(module)}
    unmet = sorted((targets or frozenset()) - met)
    if unmet:
        raise AdapterError(f"target_modules: names {_some(unmet)}, of which there are no tensors")
    expected = _regular(modules, targets, layers) if linears is None else _named(linears, targets, layers)
    missing = sorted(expected - set(modules))
    if missing:
        unless = "" if linears is not None else ", or layers of its model differ: name that model as the base"
        raise AdapterError(f"target_modules: tensors of {_some(missing)} are missing; the file is incomplete{unless}")


def _named(linears: Collection[str], targets: frozenset[str] | None, layers: set[int] | None) -> set[str]:
    """The modules of the base model that the config means."""
    if targets is None:
        named = {name for name in linears if ends(name)[-1] not in _OUTPUT_LAYERS}
    else:
        named = {name for name in linears if not targets.isdisjoint(ends(name))}
    return {name for name in named if layers is None or _layer(name) in layers}


def _regular(modules: Collection[str], targets: frozenset[str] | None, layers: set[int] | None) -> set[str]:
    """The modules there would be if each was in each layer; those named with their layer stand alone."""
    alone = frozenset(name for name in targets or () if _layer(name) is not None)
    places = {module: _layer(module) for module in modules if alone.isdisjoint(ends(module))}
    found = {layer for layer in places.values() if layer is not None}
    if not found:
        return set()
    shapes = {_LAYER.sub(".#", f".{module}.", count=1) for module, layer in places.items() if layer is not None}
    wanted: Iterable[int] = range(max(found) + 1) if layers is None else layers
    return {shape.replace("#", str(layer)).strip(".") for shape in shapes for layer in wanted}


def _chosen_layers(config: Config) -> set[int] | None:
    value = config.fields.get("layers_to_transform")
    if value is None or value == []:
        return None
    layers = value if isinstance(value, list) else [value]
    if len(layers) > MAX_NAMES or not all(type(layer) is int and 0 <= layer < 1000 for layer in layers):
        raise AdapterError("layers_to_transform: must be a list of whole numbers of 0..999")
    return set(layers)


def _layer(module: str) -> int | None:
    found = _LAYER.search(f".{module}.")
    return None if found is None else int(found[1])


def _some(modules: list[str]) -> str:
    more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
    return ", ".join(name[:120] for name in modules[:3]) + more
