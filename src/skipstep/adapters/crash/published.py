"""What lies beside the layers that offsite-tuning and CRaSh publish, and whether they are those of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import AdapterError
from ..base import BaseModel
from ..opening import read_small
from ..strict_json import parse_object
from .outer_file import OuterLayers

METADATA = "metadata.json"
_FIELDS = {"student": "student_layers"}  # of other files it is train_layers


def published_layers(weights: Path) -> list[int]:
    """The numbers of a file's layers, from CRaSh's `metadata.json` beside it.

    Raises:
        AdapterError: if there is none, or it does not say.
    """
    field, path = _FIELDS.get(weights.stem, "train_layers"), weights.with_name(METADATA)
    if not path.exists():
        raise AdapterError(
            f"{field}: {weights.name} does not say which layers of the model it has, and there is no {METADATA} "
            "beside it; name them with --train-layers, as 0,1,28,29"
        )
    layers = parse_object(read_small(path, limit=2**20), METADATA).get(field)
    if not isinstance(layers, list) or not layers or not all(type(one) is int and 0 <= one < 10_000 for one in layers):
        raise AdapterError(f"{field}: {METADATA} must have a list of layers' numbers there, got {str(layers)[:80]}")
    return layers


def check_against(outer: OuterLayers, base: BaseModel) -> OuterLayers:
    """The layers, which now know how many their model has.

    Raises:
        AdapterError: if the model has no such layers, or linear modules of other sizes.
    """
    total = base.fingerprint.layers
    for number, weights in outer.layers.items():
        if number >= total:
            raise AdapterError(f"train_layers: there is no layer {number}; the base model has 0..{total - 1}")
        sizes = {name.partition(f".{number}.")[2]: size for name, size in base.linears.items()}
        for name, weight in weights.items():
            size = sizes.get(name.removesuffix(".weight"), tuple(weight.shape))
            if tuple(weight.shape) != size:
                raise AdapterError(
                    f"shape of layer {number}: {name} is {list(weight.shape)}, and the base model has {list(size)}"
                )
    if outer.total not in (None, total):
        raise AdapterError(f"base_num_layers: is {outer.total}, and the base model has {total} layers")
    return replace(outer, total=total)
