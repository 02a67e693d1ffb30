"""Adapters that were published as pickles, as safetensors in the layouts that are read here."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AdapterError, OptionError, OutputError
from ..whole import output_errors, whole_file, whole_folder, write_whole
from .base import BaseModel
from .config import MAX_CONFIG
from .folder import CONFIG, SIDECAR, WEIGHTS, contained
from .inspection import inspect_adapter
from .opening import read_small
from .pickled_file import unpickle
from .sidecar import sidecar_bytes
from .tensors import TRAINED_LIMITS, read_header

LAYOUTS = ("peft", "sora", "offsite", "image")
_NAMES = (
    "adapter_model.bin",
    "pytorch_model.bin",
    "adapter.pt",
    "pytorch_lora_weights.bin",
    "model.safetensors",
    "adapter.safetensors",
)
_NUMBERED = re.compile(r"\d{1,4}\.")


@dataclass(frozen=True, kw_only=True)
class ConversionHints:
    """What a file may not say itself.

    `train_layers` are the layers of offsite-tuning's files; `leave_out` are tensors and modules that may be dropped, as
    what was trained beside SoRA.
    """

    train_layers: Sequence[int] | None = None
    leave_out: Collection[str] = ()


def convert_adapter(
    source: Path | str,
    out: Path | str,
    *,
    layout: str = "auto",
    base: BaseModel | None = None,
    hints: ConversionHints | None = None,
) -> str:
    """Write an adapter as safetensors, and return the layout that it was in.

    "peft" is a folder with `adapter_model.bin`, and `out` a folder that `inspect_adapter` accepts. "sora" is SoRA's
    `pytorch_model.bin` with its `config.json`, and `out` a PEFT folder. "offsite" is the `adapter.pt` or `student.pt`
    of offsite-tuning and CRaSh, with `metadata.json` where there is one, and "image" a LoRA of an image model; `out` is
    a .safetensors file for both. Pickles are read by another process; see `pickled_file`. With a `base`, modules and
    sizes are compared with those of the model, which a note beside a folder then names.

    Raises:
        OptionError: for another layout, or if `out` has another suffix than a file must have.
        AdapterError: if the adapter is damaged, unsafe, or none of that layout; nothing is written then.
        OutputError: if `out` cannot be written.
    """
    if layout not in ("auto", *LAYOUTS):
        raise OptionError(f"layout must be auto or one of {', '.join(LAYOUTS)}, got {layout!r}")
    weights, out, hints = _weights(Path(source)), Path(os.path.abspath(out)), hints or ConversionHints()
    with output_errors(out):
        if out.is_dir() and any(out.iterdir()):
            raise OutputError(f"{out} is a folder that is not empty; name a new one")
        near = next(folder for folder in out.parents if folder.is_dir())
        holder = tempfile.TemporaryDirectory(dir=near, prefix=".skipstep-")
    with holder as name:
        work = Path(name)
        is_safe = weights.suffix.lower() == ".safetensors"
        with output_errors(out):
            tensors = weights if is_safe else unpickle(weights, work, leave_out=hints.leave_out)
        if layout == "auto":
            layout = _layout_of(weights, tensors)
        if is_safe and layout in ("peft", "image"):
            raise AdapterError(f"{weights.name}: is no pickle and needs no conversion; `skipstep adapters inspect` it")
        place = _Place(weights=weights, tensors=tensors, work=work, out=out, base=base, hints=hints)
        if layout == "peft":
            _write_peft(place)
        elif layout == "sora":
            _write_sora(place)
        elif layout == "offsite":
            _write_outer_layers(place)
        else:
            _write_image_file(place)
    return layout


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the weights were published, where their tensors are now, and where they go."""

    weights: Path
    tensors: Path
    work: Path
    out: Path
    base: BaseModel | None
    hints: ConversionHints

    def beside(self, name: str) -> Path:
        """A file that was published with the weights."""
        return self.weights.with_name(name)

    def make_parent(self) -> None:
        """The folder that a file goes into."""
        with output_errors(self.out):
            self.out.parent.mkdir(parents=True, exist_ok=True)


def _weights(source: Path) -> Path:
    """The file itself, or the first of the usual names in a folder."""
    real = contained(source, None)
    if not real.is_dir():
        return real
    found = next((real / name for name in _NAMES if os.path.lexists(real / name)), None)
    if found is None:
        raise AdapterError(f"{real.name}: has none of {', '.join(_NAMES)}; name the file itself")
    return found


def _layout_of(weights: Path, tensors: Path) -> str:
    names = read_header(tensors, TRAINED_LIMITS).tensors
    if any(name.endswith(".lora.gate") for name in names):
        return "sora"
    if all(_NUMBERED.match(name) for name in names):
        return "offsite"
    return "peft" if weights.with_name(CONFIG).exists() else "image"


def _write_peft(place: _Place) -> None:
    staged = _staged(place)
    place.tensors.replace(staged / WEIGHTS)
    (staged / CONFIG).write_bytes(read_small(place.beside(CONFIG), limit=MAX_CONFIG))
    _publish(staged, place)


def _write_sora(place: _Place) -> None:
    from .sora import read_published, save_lora_folder

    state = read_published(place.tensors, place.beside("config.json"), leave_out=place.hints.leave_out)
    staged = _staged(place)
    save_lora_folder(state, staged, base_model="" if place.base is None else place.base.fingerprint.architecture)
    _publish(staged, place)


def _staged(place: _Place) -> Path:
    """An empty folder with the name that the adapter is to have."""
    staged = place.work / "adapter" / place.out.name
    staged.mkdir(parents=True)
    return staged


def _publish(staged: Path, place: _Place) -> None:
    """Put a folder in its place once it was found to be sound."""
    inspect_adapter(staged, base=place.base)
    if place.base is not None:
        write_whole(staged / SIDECAR, sidecar_bytes(place.base.fingerprint))
    with whole_folder(place.out) as unfinished:
        for file in staged.iterdir():
            file.replace(unfinished / file.name)


def _write_outer_layers(place: _Place) -> None:
    from .crash import read_outer_layers, write_outer_layers
    from .crash.published import check_against, published_layers

    _check_suffix(place.out)
    known = read_header(place.tensors, TRAINED_LIMITS).metadata.get("train_layers")
    layers = place.hints.train_layers
    if layers is None and known is None:
        layers = published_layers(place.weights)
    outer = read_outer_layers(place.tensors, layers=layers)
    if place.base is not None:
        outer = check_against(outer, place.base)
    place.make_parent()
    write_outer_layers(outer, place.out)


def _write_image_file(place: _Place) -> None:
    _check_suffix(place.out)
    inspect_adapter(place.tensors)
    place.make_parent()
    with whole_file(place.out) as unfinished:
        place.tensors.replace(unfinished)


def _check_suffix(out: Path) -> None:
    if out.suffix != ".safetensors":
        raise OptionError(f"this layout is written as one .safetensors file, got {out.name}; name one")
