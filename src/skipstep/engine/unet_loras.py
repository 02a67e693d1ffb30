"""LoRA files of image models on a pipeline: each is looked at before diffusers loads it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..adapters import AdapterInfo, inspect_adapter
from ..errors import AdapterError, MissingExtraError, OptionError

MAX_SCALE = 10.0


def parsed_lora(text: str) -> tuple[Path, float]:
    """`FILE` or `FILE@SCALE` as the file and its scale.

    Raises:
        OptionError: if the scale is no number of -10..10.
    """
    name, at, scale = text.rpartition("@")
    if not at or text.endswith(".safetensors"):
        return Path(text), 1.0
    try:
        value = float(scale)
    except ValueError:
        value = float("nan")
    if not abs(value) <= MAX_SCALE:
        raise OptionError(f"a LoRA is written FILE or FILE@SCALE with a scale of -10..10, got {text!r}")
    return Path(name), value


def check_lora(path: Path) -> AdapterInfo:
    """What a LoRA file is, by its header and values.

    Raises:
        OptionError: if it is not there, or `inspect_adapter` refuses it, with the reason.
    """
    if path.is_dir():
        raise OptionError(f"{path} is a folder; name the .safetensors file of the LoRA in it")
    try:
        return inspect_adapter(path.resolve())  # whoever named the file may have named it by a link
    except AdapterError as error:
        raise OptionError(f"cannot use {path} as a LoRA: {error}") from error


def put_on(pipe: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Put LoRAs on a pipeline without any, each with its scale.

    Raises:
        OptionError: if a file is refused, or has modules that the pipeline has not; none is left on it then.
        MissingExtraError: without PEFT.
    """
    if not loras:
        return
    if find_spec("peft") is None:
        raise MissingExtraError("LoRAs need peft: pip install 'skipstep[lora]'")
    try:
        for index, (path, _) in enumerate(loras):
            _load(pipe, path, f"lora{index}")
        pipe.set_adapters([f"lora{index}" for index in range(len(loras))], [scale for _, scale in loras])
    except BaseException:
        pipe.unload_lora_weights()
        raise


def _load(pipe: Any, path: Path, name: str) -> None:
    info = check_lora(path)
    try:
        pipe.load_lora_weights(str(info.path), adapter_name=name, use_safetensors=True, local_files_only=True)
    except (ValueError, RuntimeError, KeyError, TypeError, IndexError) as error:  # diffusers raises all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise OptionError(f"cannot use {path} as a LoRA of this model: {reason}") from error
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    loaded = sum(name in getattr(module, "lora_A", ()) for part in parts for module in part.modules())
    if loaded != len(info.modules):
        raise OptionError(
            f"cannot use {path} as a LoRA of this model: it is for {len(info.modules)} modules, of which {loaded} are "
            "there; it was made for another one"
        )
