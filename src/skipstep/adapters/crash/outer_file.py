"""Trained outer layers on disk: one safetensors file that says which layers of how many it holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import AdapterError, OptionError
from ..whole_tensors import load_tensors, save_tensors
from .emulator import Emulator

FORMAT = "skipstep-crash-1"
STORED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
_KEY = re.compile(r"(\d{1,4})\.(\w[\w.]*)")
_NUMBERS = re.compile(r"\d{1,4}(,\d{1,4})*")


@dataclass(frozen=True, kw_only=True)
class OuterLayers:
    """Weights of layers by the layers' number, then by name; `total` layers are in their model, if the file says."""

    layers: dict[int, dict[str, Tensor]]
    total: int | None


def save_outer_layers(emulator: Emulator, path: Path, *, dtype: str | None = None) -> None:
    """Write tensors `<k>.<name>` (k counts the trained layers, as in the published files) with their metadata.

    `dtype` is one of float32, float16, bfloat16, float64; None keeps the layers' own.

    Raises:
        OptionError: for another type.
        OutputError: if the file cannot be written.
    """
    layers = {number: dict(layer.state_dict()) for number, layer in emulator.trained_layers().items()}
    write_outer_layers(OuterLayers(layers=layers, total=emulator.composition.total), path, dtype=dtype)


def write_outer_layers(outer: OuterLayers, path: Path, *, dtype: str | None = None) -> None:
    """Write layers as `save_outer_layers` does; it raises the same."""
    if dtype is not None and dtype not in STORED:
        raise OptionError(f"dtype must be one of {', '.join(STORED)}, got {dtype!r}")
    tensors = {
        f"{k}.{name}": value if dtype is None else value.to(STORED[dtype])
        for k, weights in enumerate(outer.layers.values())
        for name, value in weights.items()
    }
    types = sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})
    metadata = {"format": FORMAT, "train_layers": ",".join(map(str, outer.layers)), "dtype": ",".join(types)}
    if outer.total is not None:
        metadata["base_num_layers"] = str(outer.total)
    save_tensors(tensors, path, metadata=metadata)


def read_outer_layers(path: Path, *, layers: Sequence[int] | None = None) -> OuterLayers:
    """Read such a file. Published ones do not say which layers they hold: name them with `layers`.

    Raises:
        AdapterError: if the file cannot be read, contradicts itself, or its layers are not known.
    """
    tensors, metadata = load_tensors(path)
    numbers, total = _layer_numbers(path, metadata, layers)
    found: dict[int, dict[str, Tensor]] = {number: {} for number in numbers}
    for key, value in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None or int(match[1]) >= len(numbers):
            raise AdapterError(f"{key} is not a weight of one of {len(numbers)} layers (<k>.<name>)")
        found[numbers[int(match[1])]][match[2]] = value
    if empty := [number for number, weights in found.items() if not weights]:
        raise AdapterError(f"{path} names the layers {numbers} and holds no weights of {empty}")
    return OuterLayers(layers=found, total=total)


def _layer_numbers(path: Path, metadata: dict[str, str], layers: Sequence[int] | None) -> tuple[list[int], int | None]:
    if layers is not None:
        numbers = list(layers)
    elif _NUMBERS.fullmatch(metadata.get("train_layers", "")):
        numbers = [int(number) for number in metadata["train_layers"].split(",")]
    else:
        raise AdapterError(f"{path} does not say which layers it holds; name them with layers=, as (0, 1, 28, 29)")
    if len(set(numbers)) != len(numbers) or not numbers:
        raise AdapterError(f"layers must be different numbers, got {numbers}")
    total = metadata.get("base_num_layers")
    if total is not None and not re.fullmatch(r"\d{1,4}", total):
        raise AdapterError(f"base_num_layers must be a number, got {total!r}")
    return numbers, None if total is None else int(total)
