"""SoRA as a LoRA folder that PEFT and other engines load without knowing of gates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import AdapterError, OptionError
from ...whole import output_errors, write_whole
from ..canonical import canonical_config
from ..folder import CONFIG, WEIGHTS
from ..whole_tensors import save_tensors
from .pruning import pruned
from .state import SoraState

STORED = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def lora_tensors(state: SoraState, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """PEFT's tensors: `lora_A` (rank, inputs) is `down`, `lora_B` (outputs, rank) is `up * gate * scale`.

    The product is made in float64 and rounded once. Modules of rank 0 are left out.

    Raises:
        OptionError: if the type cannot be stored.
        AdapterError: if no gate is left in any module.
    """
    if dtype not in STORED:
        raise OptionError(f"dtype must be one of {', '.join(map(str, STORED))}, got {dtype}")
    tensors = {}
    for name, factors in pruned(state).modules.items():
        if factors.rank:
            folded = factors.up.double() * factors.gate.double() * state.scale
            tensors[f"base_model.model.{name}.lora_A.weight"] = factors.down.to(dtype)
            tensors[f"base_model.model.{name}.lora_B.weight"] = folded.to(dtype)
    if not tensors:
        raise AdapterError("every gate is zero, so there is no LoRA to write; train with a smaller penalty")
    return tensors


def lora_config(state: SoraState, *, base_model: str) -> dict[str, Any]:
    """The canonical configuration, which names the base model."""
    config = canonical_config({name: rank for name, rank in state.ranks().items() if rank})
    return {**config, "base_model_name_or_path": base_model}


def save_lora_folder(
    state: SoraState, folder: Path, *, base_model: str, dtype: torch.dtype = torch.float32
) -> dict[str, int]:
    """Write `adapter_model.safetensors` and `adapter_config.json`; gives the rank of every module, 0 where left out.

    Raises:
        AdapterError: if no gate is left in any module.
        OutputError: if the folder cannot be written.
    """
    tensors = lora_tensors(state, dtype=dtype)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_tensors(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = json.dumps(lora_config(state, base_model=base_model), indent=2) + "\n"
    write_whole(folder / CONFIG, config.encode())
    return state.ranks()
