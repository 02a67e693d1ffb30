"""Reads SoRA checkpoints as the paper's authors publish them, after conversion to safetensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import AdapterError
from ..config import MAX_CONFIG
from ..opening import read_small
from ..strict_json import parse_object
from ..whole_tensors import load_tensors
from .state import GatedFactors, SoraState

PARTS = {"lora_A": "down", "lora_B": "up", "gate": "gate"}


def read_published(weights: Path, config: Path, *, leave_out: Collection[str] = ()) -> SoraState:
    """A checkpoint of OpenDelta's layout: a safetensors file, and the `config.json` with `lora_r` and `lora_alpha`.

    See `published_state` for the layout and what is refused.
    """
    options = parse_object(read_small(config, limit=MAX_CONFIG), config.name)
    tensors, _ = load_tensors(weights)
    return published_state(tensors, options, leave_out=leave_out)


def published_state(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, leave_out: Collection[str] = ()
) -> SoraState:
    """From `<module>.lora.lora_A` (r, inputs), `.lora.lora_B` (outputs, r) and `.lora.gate` (1, r).

    Such files also hold what was trained beside SoRA (a classifier, layer norms). That cannot become a LoRA, so it is
    refused unless `leave_out` names the tensor or a module that it is in.

    Raises:
        AdapterError: names the tensor or the field that is missing, unknown or of a wrong shape.
    """
    rank, alpha = config.get("lora_r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1:
        raise AdapterError(f"lora_r must be an integer from 1, got {rank!r}")
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < float("inf"):
        raise AdapterError(f"lora_alpha must be a number above 0, got {alpha!r}")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".lora.")
        if module and part in PARTS:
            parts.setdefault(module, {})[PARTS[part]] = tensor
        elif not any(name == left or name.startswith(f"{left}.") for left in leave_out):
            raise AdapterError(f"{name} is no part of SoRA and cannot be converted; name it in leave_out to drop it")
    if not parts:
        raise AdapterError("there is no <module>.lora.gate among the tensors; this is not a SoRA checkpoint")
    modules = {name: _factors(name, found, rank) for name, found in parts.items()}
    return SoraState(modules=modules, scale=alpha / rank)


def _factors(name: str, found: dict[str, Tensor], rank: int) -> GatedFactors:
    for published, part in PARTS.items():
        if part not in found:
            raise AdapterError(f"{name}.lora.{published} is missing; the checkpoint is not whole")
    if tuple(found["gate"].shape) != (1, rank):
        raise AdapterError(f"{name}.lora.gate must be (1, {rank}) as lora_r says, got {tuple(found['gate'].shape)}")
    return GatedFactors(down=found["down"], gate=found["gate"][0], up=found["up"])
