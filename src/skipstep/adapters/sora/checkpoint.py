"""A SoRA run on disk: factors, moments and the step, in one safetensors file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...errors import AdapterError
from ..whole_tensors import load_tensors, save_tensors
from .state import GatedFactors, SoraState

FORMAT = "skipstep-sora-1"
MOMENTS = "moments:"
FACTORS = "factors:"


@dataclass(frozen=True, kw_only=True)
class SoraCheckpoint:
    """A run after `step` steps; `settings` is what the run was started with, as text."""

    state: SoraState
    moments: dict[str, Tensor]
    step: int
    settings: str


def save_checkpoint(checkpoint: SoraCheckpoint, path: Path) -> None:
    """Write the file; an earlier one is replaced when the new one is whole.

    Raises:
        OutputError: if it cannot be written.
    """
    tensors = {f"{MOMENTS}{name}": value for name, value in checkpoint.moments.items()}
    for name, factors in checkpoint.state.modules.items():
        for part in ("down", "gate", "up"):
            tensors[f"{FACTORS}{name}:{part}"] = getattr(factors, part)
    metadata = {
        "format": FORMAT,
        "step": str(checkpoint.step),
        "scale": checkpoint.state.scale.hex(),
        "settings": checkpoint.settings,
    }
    save_tensors(tensors, path, metadata=metadata)


def load_checkpoint(path: Path) -> SoraCheckpoint:
    """Read a file of `save_checkpoint`.

    Raises:
        AdapterError: if it is not there, or is something else.
    """
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        raise AdapterError(
            f"{path} is not a checkpoint of a SoRA run ({FORMAT}); its format is {metadata.get('format')}"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(FACTORS):
            module, _, part = name.removeprefix(FACTORS).rpartition(":")
            parts.setdefault(module, {})[part] = value
    return SoraCheckpoint(
        state=SoraState(
            modules={name: GatedFactors(**found) for name, found in parts.items()},
            scale=float.fromhex(metadata["scale"]),
        ),
        moments={name.removeprefix(MOMENTS): value for name, value in tensors.items() if name.startswith(MOMENTS)},
        step=int(metadata["step"]),
        settings=metadata["settings"],
    )
