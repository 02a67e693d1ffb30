"""Base models as transformers folders: read without a download or a program, and written whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from ..errors import AdapterError, MissingExtraError
from ..whole import whole_folder
from .base import base_of_folder
from .opening import read_small
from .strict_json import parse_object
from .tensors import MIB

# what a model needs beside its weights and config, which transformers writes
_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "README.md",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
)


def load_model_folder(folder: Path, *, dtype: torch.dtype | str = "auto", **options: Any) -> Any:
    """A causal LM in evaluation mode; `dtype` "auto" is the files' own, and options are those of `from_pretrained`.

    Raises:
        AdapterError: if the folder is damaged, is no causal language model, or is quantised.
        MissingExtraError: without transformers.
    """
    base_of_folder(folder)
    if parse_object(read_small(folder / "config.json", limit=MIB), "config.json").get("quantization_config"):
        raise AdapterError(f"quantization_config: {folder} is quantised; name the folder that it was made from")
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError(f"base models need {error.name}: pip install 'skipstep[prompt]'") from error
    models: Any = transformers.AutoModelForCausalLM
    try:
        model = models.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # transformers raises all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AdapterError(f"cannot load {folder}: {reason}") from error
    return model.eval()


def save_model_folder(model: Any, base: Path, out: Path) -> None:
    """Write a model that was made of the one in the folder `base`, with that one's tokenizer and licence.

    Raises:
        OutputError: if `out` is there and not empty, or cannot be written.
    """
    with whole_folder(out) as unfinished:
        model.save_pretrained(str(unfinished))
        for name in _BESIDE:
            if (base / name).is_file():
                shutil.copyfile(base / name, unfinished / name)
