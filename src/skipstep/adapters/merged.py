"""A copy of the base model that has an adapter's changes in its own weights, for programs without adapters."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import AdapterError
from .families import PROMPTS
from .inspection import AdapterInfo
from .model_folder import load_model_folder, save_model_folder
from .peft_model import with_adapter


def write_merged(info: AdapterInfo, out: Path, *, base: Path) -> None:
    """Write the model in the folder `base` with the adapter merged, as a new folder of transformers.

    PEFT merges in float32 what it loads from the config that the inspection made; the result is rounded to the types
    of the base's files once. Neither folder is changed.

    Raises:
        AdapterError: for prompts and prefixes, which are no change of weights, for LoRAs of image models, or if the
            adapter changed since it was inspected.
        OutputError: if `out` is there and not empty, or cannot be written.
        MissingExtraError: without transformers, safetensors or PEFT.
    """
    if not info.config:
        raise AdapterError(f"family: {info.family} of an image model cannot be merged into a language model")
    if info.config["peft_type"] in PROMPTS:
        raise AdapterError(f"family: {info.family} stands before the text and cannot be merged; load it as an adapter")
    model = load_model_folder(base)
    types = {name: tensor.dtype for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    merged = with_adapter(model.float(), info).merge_and_unload(safe_merge=True)
    with torch.no_grad():
        for name, tensor in merged.state_dict(keep_vars=True).items():
            if name in types:
                tensor.data = tensor.data.to(types[name])
    merged.config.dtype = model.config.dtype
    save_model_folder(merged, base, out)
