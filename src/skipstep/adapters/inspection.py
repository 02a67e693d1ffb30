"""Looks at an adapter before anything loads it: family, layers, ranks, scales, and a config that is safe to use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AdapterError
from .base import BaseModel, Fingerprint
from .clean import clean_config
from .config import read_config
from .families import PROMPTS, fitted, grouped
from .fits import Fit
from .folder import WEIGHTS, check_folder, contained
from .modules import Module, modules_of
from .sidecar import read_sidecar
from .targets import check_targets
from .tensors import read_header
from .unet_file import read_unet_file
from .values import digest


@dataclass(frozen=True, kw_only=True)
class AdapterInfo:
    """An adapter that was found to be sound.

    `layout` is "peft" for a folder of a language model; for files of image models it is "peft", "kohya" or
    "diffusers". `bytes` and `sha256` are those of the weights. `config` is what PEFT is to be given, and empty for
    image models. `base` is the model it was made for, as far as that is known.
    """

    path: Path
    family: str
    layout: str
    modules: tuple[Module, ...]
    parameters: int
    bytes: int
    sha256: str
    base: Fingerprint | None
    config: Mapping[str, Any]
    warnings: tuple[str, ...]

    @property
    def identity(self) -> str:
        """A hash of the weights and of how they are used; two adapters may share the former."""
        used = json.dumps([self.sha256, self.config], sort_keys=True)
        return hashlib.sha256(used.encode()).hexdigest()

    @property
    def ranks(self) -> tuple[int, ...]:
        """All ranks that modules have, each once, the smallest first."""
        return tuple(sorted({module.rank for module in self.modules if module.rank is not None}))


def inspect_adapter(path: Path | str, *, root: Path | None = None, base: BaseModel | None = None) -> AdapterInfo:
    """Check an adapter folder of PEFT, or a LoRA file of an image model, without loading it.

    Nothing is executed, written, downloaded or unpickled. The path must lie in `root`; with a `base`, modules and
    sizes are compared with those of the model.

    Raises:
        AdapterError: says first what is wrong, and names the field, tensor or file.
    """
    real = contained(Path(path), root)
    if not real.is_dir():
        return _inspect_file(real)
    check_folder(real)
    config = read_config(real)
    file = read_header(real / WEIGHTS)
    family = config.family
    shapes, shared = grouped(family, file.tensors)
    fits = fitted(family, shapes)
    modules = () if family.peft_type in PROMPTS else modules_of(config, fits)
    clean = clean_config(config, modules, shapes)
    if family.name == "VeRA":
        _check_projections(fits, shared, saved=clean["save_projection"])
    if base is not None:
        _check_base(clean, fits, base)
    if modules:
        check_targets(config, fits, None if base is None else base.linears)
    made_for = read_sidecar(real)
    return AdapterInfo(
        path=real,
        family=family.name,
        layout="peft",
        modules=modules,
        parameters=file.parameters,
        bytes=file.bytes,
        sha256=digest(file),
        base=made_for,
        config=clean,
        warnings=_check_fingerprint(made_for, base),
    )


def _inspect_file(path: Path) -> AdapterInfo:
    if path.suffix.lower() != ".safetensors":
        raise AdapterError(f"{path.name}: is neither a folder nor a .safetensors file; pickles are refused, convert it")
    found = read_unet_file(read_header(path))
    return AdapterInfo(
        path=path,
        family=found.family,
        layout=found.layout,
        modules=found.modules,
        parameters=found.file.parameters,
        bytes=found.file.bytes,
        sha256=digest(found.file),
        base=None,
        config={},
        warnings=(),
    )


def _check_base(clean: Mapping[str, Any], fits: Mapping[str, Fit], base: BaseModel) -> None:
    """See that every module exists in the base model and has its sizes."""
    if "token_dim" in clean:
        keys = next((size for name, (size, _) in base.linears.items() if name.endswith("k_proj")), None)
        width = base.fingerprint.hidden_size if clean["peft_type"] != "PREFIX_TUNING" else keys
        if width is not None and clean["token_dim"] != width:
            raise AdapterError(f"token_dim: is {clean['token_dim']}, and the base model has {width}")
        if clean["num_layers"] != base.fingerprint.layers:
            raise AdapterError(
                f"num_layers: is {clean['num_layers']}, and the base model has {base.fingerprint.layers}"
            )
        return
    for name, fit in fits.items():
        if name not in base.linears:
            raise AdapterError(f"module {name[:120]}: is no linear layer of the base model")
        outputs, inputs = base.linears[name]
        if fit.outputs not in (None, outputs) or fit.inputs not in (None, inputs):
            made = f"{fit.inputs or inputs} inputs and {fit.outputs or outputs} outputs"
            raise AdapterError(f"shape of {name}: is for {made}, and the base model has {inputs} and {outputs}")


def _check_projections(fits: Mapping[str, Fit], shared: Mapping[str, tuple[int, ...]], *, saved: bool) -> None:
    """See that the random matrices that VeRA's modules share are there, and large enough for all."""
    if not saved:
        raise AdapterError("save_projection: must be true; without the matrices the adapter depends on torch's version")
    rank = next(iter(fits.values())).rank
    largest = max(fit.outputs or 0 for fit in fits.values())
    a, b = shared.get("vera_A", ()), shared.get("vera_B", ())
    if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank or b[0] < largest:
        raise AdapterError(f"vera_A, vera_B: shapes {list(a)} and {list(b)} do not serve rank {rank}")


def _check_fingerprint(made_for: Fingerprint | None, base: BaseModel | None) -> tuple[str, ...]:
    """Refuse another base model than the adapter was made for; what is unknown is a warning."""
    if base is None:
        return ("no base model was named: that its modules exist and fit was not checked",)
    if made_for is None:
        return ("nothing says which base model it was made for; its modules exist in this one and fit",)
    field = made_for.difference(base.fingerprint)
    if field is not None:
        here, there = getattr(base.fingerprint, field), getattr(made_for, field)
        raise AdapterError(f"{field}: the adapter was made for a base model with {there}, and this one has {here}")
    return ()
