"""What an adapter is for: the sizes of a base model, and the sizes and names of its linear layers."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from .opening import open_regular, read_small
from .strict_json import parse_object
from .tensors import BASE_LIMITS, MIB, TensorFile, read_header

_SAMPLED = 4096
_SHARD = re.compile(r"[A-Za-z0-9._-]{1,128}\.safetensors", re.ASCII)
_EMBEDDINGS = ("embed_tokens", "wte", "wpe", "embed_in", "word_embeddings")
_SIZES = ("hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What tells one base model from another.

    `sample` is the sha256, over values in float32, of the beginning of the embedding and of the first and last norm;
    a model loaded in another type than its file's may have another, and one whose layers are quantised has the same.
    It is empty where it is unknown, or does not matter.
    """

    architecture: str
    hidden_size: int
    layers: int
    vocab_size: int
    sample: str

    def difference(self, other: Fingerprint) -> str | None:
        """The first field in which two models differ, among those that both know."""
        pairs = ((name, value, getattr(other, name)) for name, value in vars(self).items())
        return next((name for name, here, there in pairs if here != there and here != "" and there != ""), None)


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A causal language model as adapters see it; `linears` are (outputs, inputs) by the module's name."""

    fingerprint: Fingerprint
    heads: int
    kv_heads: int
    linears: Mapping[str, tuple[int, int]]


def base_of_folder(folder: Path | str) -> BaseModel:
    """The model in a transformers folder, from its config and the headers of its safetensors files.

    Raises:
        AdapterError: if a file is missing or damaged.
    """
    folder = Path(folder)
    config = parse_object(read_small(folder / "config.json", limit=MIB), "config.json")
    sizes = _sizes(config)
    files = [read_header(file, BASE_LIMITS) for file in _weight_files(folder)]
    shapes = {name: (file, tensor.shape) for file in files for name, tensor in file.tensors.items()}
    linears = {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, (_, shape) in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and name.split(".")[-2:][0] not in _EMBEDDINGS
    }
    if config.get("tie_word_embeddings"):
        linears.pop("lm_head", None)
    sample = hashlib.sha256()
    for name in _sampled({name: shape for name, (_, shape) in shapes.items()}):
        sample.update(_first_values(shapes[name][0], name))
    return BaseModel(
        fingerprint=_fingerprint(config.get("model_type"), sizes, sample.hexdigest()),
        heads=sizes["num_attention_heads"],
        kv_heads=sizes["num_key_value_heads"],
        linears=linears,
    )


def base_of_module(model: Any) -> BaseModel:
    """A transformers model that is loaded; nothing of it is changed.

    Raises:
        AdapterError: if it has no config of a causal language model.
    """
    config = model.config.to_dict()
    sizes = _sizes(config)
    parameters = dict(model.named_parameters())
    linears = {
        name: (int(layer.out_features), int(layer.in_features))
        for name, layer in model.named_modules()
        if hasattr(layer, "in_features") and hasattr(layer, "out_features")
    }
    if config.get("tie_word_embeddings"):
        linears.pop("lm_head", None)
    sample = hashlib.sha256()
    for name in _sampled({name: tuple(tensor.shape) for name, tensor in parameters.items()}):
        values = parameters[name].detach().flatten()[:_SAMPLED].float().cpu()
        sample.update(values.numpy().tobytes())
    return BaseModel(
        fingerprint=_fingerprint(config.get("model_type"), sizes, sample.hexdigest()),
        heads=sizes["num_attention_heads"],
        kv_heads=sizes["num_key_value_heads"],
        linears=linears,
    )


def _sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of a language model; where keys have no heads of their own they have those of queries."""
    sizes = {name: config.get(name) for name in _SIZES}
    sizes["num_key_value_heads"] = config.get("num_key_value_heads") or sizes["num_attention_heads"]
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise AdapterError(f"{name}: the base model's config has {size!r}; name a causal language model")
    return {name: int(size or 0) for name, size in sizes.items()}


def _fingerprint(architecture: object, sizes: Mapping[str, int], sample: str) -> Fingerprint:
    return Fingerprint(
        architecture=str(architecture),
        hidden_size=sizes["hidden_size"],
        layers=sizes["num_hidden_layers"],
        vocab_size=sizes["vocab_size"],
        sample=sample,
    )


def _weight_files(folder: Path) -> Iterator[Path]:
    """The only file, or those that the index names."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        yield folder / "model.safetensors"
        return
    named = parse_object(read_small(index, limit=16 * MIB), index.name).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise AdapterError(f"weight_map: {index.name} of the base model names no files")
    for name in sorted(set(map(str, named.values()))):
        if not _SHARD.fullmatch(name):
            raise AdapterError(f"weight_map: {name[:80]!r} is no file beside {index.name}")
        yield folder / name


def _sampled(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The embedding, and the first and last norm by name."""
    embeddings = [name for name in shapes if name.split(".")[-2:][0] in _EMBEDDINGS]
    norms = sorted(name for name, shape in shapes.items() if len(shape) == 1 and "norm" in name)
    return sorted(embeddings)[:1] + list(dict.fromkeys(norms[:1] + norms[-1:]))


def _first_values(file: TensorFile, name: str) -> bytes:
    """The beginning of a tensor in float32."""
    tensor = file.tensors[name]
    width = {"F32": 4, "F16": 2, "BF16": 2}.get(tensor.dtype)
    if width is None:
        raise AdapterError(f"{file.path.name}: {name} of the base model is {tensor.dtype}; use an unquantised one")
    with open_regular(file.path) as (opened, _):
        opened.seek(tensor.start)
        raw = opened.read(min(_SAMPLED * width, tensor.stop - tensor.start))
    if tensor.dtype == "F32":
        return raw
    count = len(raw) // 2
    if tensor.dtype == "F16":
        return struct.pack(f"<{count}f", *struct.unpack(f"<{count}e", raw))
    return b"".join(b"\0\0" + raw[at : at + 2] for at in range(0, len(raw), 2))
