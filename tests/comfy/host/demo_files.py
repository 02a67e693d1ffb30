"""A LoRA and a ControlNet for the demo SDXL, under the names that a workflow has for a user's own.

They are random, and small enough that what the demo draws is still seen: a stand-in for files that nobody can ship.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .tiny_checkpoints import StateDict, controlnet_of, lora_of, save

LORA = "your-sdxl-lora.safetensors"
CONTROLNET = "your-sdxl-controlnet.safetensors"
_SHARE = 0.3  # of what the miniature ones change


def ensure_files(models: Path, demo: Any) -> None:
    """Put both into a `models` folder; `demo` is the MODEL of the demo SDXL."""
    with torch.no_grad():
        _put(_weak_lora(demo.model), models / "loras" / LORA)
        _put(_own_controlnet(demo.model), models / "controlnet" / CONTROLNET)


def _weak_lora(model: Any) -> StateDict:
    return {name: value * _SHARE if "lora_up" in name else value for name, value in lora_of(model).items()}


def _own_controlnet(model: Any) -> StateDict:
    """The UNet's own encoder, as a ControlNet has at the start of its training, with small outputs instead of none."""
    own = model.diffusion_model.state_dict()
    weights = {}
    for name, value in controlnet_of(model).items():
        inner = name.removeprefix("control_model.")
        output = inner.startswith(("zero_convs", "middle_block_out"))
        weights[name] = own[inner].float() if inner in own else value * (_SHARE if output else 1)
    return weights


def _put(weights: StateDict, path: Path) -> None:
    """In one move: a server that another test has started may be reading it."""
    work = path.with_name(f".{os.getpid()}.{path.name}")
    save(weights, work)
    work.replace(path)
