"""A loop's place on disk: parameters, an optimizer's moments and the step, in one safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import AdapterError, OptionError
from .whole_tensors import load_tensors, save_tensors

FORMAT = "skipstep-loop-1"


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """A checkpoint at `path` after every `every` steps."""

    path: Path
    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise OptionError(f"a checkpoint must be written every 1 or more steps, got {self.every}")


def save_place(
    path: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None, *, step: int, settings: str
) -> None:
    """Write where a loop is after `step` steps; an earlier file is replaced when the new one is whole.

    Raises:
        OutputError: if it cannot be written.
    """
    tensors = {f"parameter:{name}": tensor.detach() for name, tensor in parameters.items()}
    moments = {} if optimizer is None else optimizer.state_dict()["state"]
    for number, values in moments.items():
        tensors |= {f"moment:{number}:{key}": value for key, value in values.items()}
    save_tensors(tensors, path, metadata={"format": FORMAT, "step": str(step), "settings": settings})


def load_place(
    path: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None, *, settings: str
) -> int:
    """Put parameters and moments back as they were; gives the number of steps that were made.

    Raises:
        AdapterError: if the file is of another loop, or of other settings.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT or metadata.get("settings") != settings:
        raise AdapterError(f"{path} is of a run with {metadata.get('settings')}; resume it with these options")
    moments: dict[int, dict[str, Any]] = {}
    with torch.no_grad():
        for key, value in tensors.items():
            kind, name, *moment = key.split(":")
            if kind == "parameter":
                parameters[name].copy_(value)
            else:
                moments.setdefault(int(name), {})[moment[0]] = value
    if optimizer is not None:
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(metadata["step"])
