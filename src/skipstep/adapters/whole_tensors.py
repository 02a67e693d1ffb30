"""Safetensors files written whole and read whole, for adapters that are trained here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import AdapterError, MissingExtraError
from ..whole import whole_file
from .folder import PICKLES
from .tensors import TRAINED_LIMITS, read_header
from .values import digest

NEEDED = "adapters need safetensors: pip install 'skipstep[diffusers]'"


def save_tensors(tensors: Mapping[str, Tensor], path: Path, *, metadata: dict[str, str]) -> None:
    """Write the file; an earlier one stays until the new one is whole.

    Raises:
        OutputError: if it cannot be written.
        MissingExtraError: without safetensors.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise MissingExtraError(NEEDED) from error
    with whole_file(path) as unfinished:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished, metadata=metadata)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A file's tensors and its metadata, after its header and its values were checked.

    Raises:
        AdapterError: if it is not there, is no safetensors file, or has values that are no finite numbers.
        MissingExtraError: without safetensors.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(NEEDED) from error
    if path.suffix.lower() in PICKLES:
        raise AdapterError(f"{path.name}: is a pickle; `skipstep adapters convert` makes a safetensors file of it")
    header = read_header(path, TRAINED_LIMITS)
    digest(header)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in header.tensors}, dict(header.metadata)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"cannot read {path} as safetensors: {error}") from error
