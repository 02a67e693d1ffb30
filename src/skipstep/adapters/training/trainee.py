"""The base model and its tokenizer, loaded for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import AdapterError, MissingExtraError, OptionError
from ..base import BaseModel, base_of_folder
from ..model_folder import load_model_folder
from ..quantized import load_quantized
from .kinds import TRAIN


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """A causal language model of transformers; `pad` fills rows up, and is not read."""

    base: BaseModel
    model: Any
    tokenizer: Any
    pad: int


def load_trainee(folder: Path, *, quantize: str | None, device: str) -> Trainee:
    """A transformers folder, in float32 or quantised; nothing of it is run, and nothing is downloaded.

    Raises:
        AdapterError: if the folder is damaged, or no causal language model.
        OptionError: if the device is not there.
        MissingExtraError: without transformers, or bitsandbytes where it is needed.
    """
    base = base_of_folder(folder)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that it was not built for
        raise OptionError(f"torch cannot use the device {device!r} here; train on cpu") from error
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(TRAIN.format(error.name)) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:  # transformers raises all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AdapterError(f"cannot load the tokenizer of {folder}: {reason}") from error
    if quantize is None:
        model = load_model_folder(folder, dtype=torch.float32).to(device)
    else:
        model = load_quantized(folder, quantize, device=device)
    pad = next((found for found in (tokenizer.pad_token_id, tokenizer.eos_token_id) if found is not None), 0)
    return Trainee(base=base, model=model, tokenizer=tokenizer, pad=pad)
