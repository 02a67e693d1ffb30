"""Models that the settings name: safetensors, and nothing that runs programs when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skipstep.adapters.tensors import BASE_LIMITS, read_header
from skipstep.engine.model_files import PICKLES
from skipstep.errors import AdapterError, OptionError

_SUFFIX = ".safetensors"


def check_weights(path: Path) -> None:
    """See that a file, or each part of a diffusers folder, is safetensors, by the headers.

    Raises:
        OptionError: if there is no such file, or it is damaged or of another kind.
    """
    if not path.exists():
        raise OptionError(f"{path} does not exist; name a {_SUFFIX} file")
    for file in _weights(path):
        if file.suffix != _SUFFIX:
            raise OptionError(f"{file} is a pickle, which can run any program when it is loaded; convert it")
        try:
            read_header(file.resolve(), BASE_LIMITS)  # models are often links into a folder of downloads
        except AdapterError as error:
            raise OptionError(f"{file} cannot be used: {error}") from error


def _weights(path: Path) -> Iterator[Path]:
    """The files that would be loaded."""
    if path.is_file():
        yield path
        return
    for part in sorted(child for child in path.iterdir() if child.is_dir()):
        safe = sorted(part.glob(f"*{_SUFFIX}"))
        yield from safe or sorted(file for file in part.iterdir() if file.suffix in PICKLES)
