"""Adapters as they are kept: a folder of our form, which is looked at before it gets its name."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from ...errors import AdapterError
from ...whole import whole_folder, write_whole
from ..base import BaseModel
from ..canonical import write_canonical
from ..families import FAMILIES
from ..folder import CONFIG, SIDECAR, WEIGHTS
from ..inspection import AdapterInfo, inspect_adapter
from ..sidecar import sidecar_bytes
from ..whole_tensors import load_tensors, save_tensors
from .options import Dtype

_LORAS = [family.name for family in FAMILIES if family.is_lora]


def write_adapter(save: Callable[[Path], object], out: Path, *, base: BaseModel, dtype: Dtype) -> AdapterInfo:
    """Have `save` write a PEFT folder, and write it to `out` in our form; gives what `inspect_adapter` sees there.

    A LoRA becomes canonical. Others keep PEFT's tensors, with a config of what matters only.

    Raises:
        AdapterError: if a value is not finite in `dtype`.
        OutputError: if `out` is there and not an empty folder, or cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="skipstep-") as scratch:
        raw = Path(scratch) / "adapter"
        save(raw)
        info = inspect_adapter(raw, base=base)
        if info.family in _LORAS:
            write_canonical(info, out, base=base, dtype=dtype)
        else:
            _write_as_is(info, out, base=base, dtype=dtype)
    return inspect_adapter(out, base=base)


def _write_as_is(info: AdapterInfo, out: Path, *, base: BaseModel, dtype: Dtype) -> None:
    tensors, _ = load_tensors(info.path / WEIGHTS)
    wanted = torch.float16 if dtype == "float16" else torch.float32
    stored = {name: tensor.to(wanted) for name, tensor in tensors.items()}
    for name, tensor in stored.items():
        if not bool(tensor.isfinite().all()):
            raise AdapterError(f"{name}: has values that are not finite in {dtype}; write float32")
    with whole_folder(out) as unfinished:
        save_tensors(stored, unfinished / WEIGHTS, metadata={"format": "pt"})
        write_whole(unfinished / CONFIG, (json.dumps(info.config, indent=1) + "\n").encode())
        write_whole(unfinished / SIDECAR, sidecar_bytes(base.fingerprint))
