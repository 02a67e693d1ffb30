"""Weights that the settings name: safetensors, and nothing that runs programs when it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skipstep.engine.model_files import PICKLES
from skipstep.errors import OptionError

_SUFFIX = ".safetensors"


def check_weights(path: Path) -> None:
    """See that a file, or each part of a diffusers folder, has safetensors; no more than the first bytes are read.

    Raises:
        OptionError: if there is no such file, or it is of another kind.
    """
    if not path.exists():
        raise OptionError(f"{path} does not exist; name a {_SUFFIX} file")
    for file in _weights(path):
        with file.open("rb") as opened:
            head = opened.read(9)
        if file.suffix != _SUFFIX or head[8:] != b"{":
            raise OptionError(
                f"{file} is no safetensors file; other kinds are pickles, which can run any program when they are "
                "loaded: convert it"
            )


def _weights(path: Path) -> Iterator[Path]:
    """The files that would be loaded."""
    if path.is_file():
        yield path
        return
    for part in sorted(child for child in path.iterdir() if child.is_dir()):
        safe = sorted(part.glob(f"*{_SUFFIX}"))
        yield from safe or sorted(file for file in part.iterdir() if file.suffix in PICKLES)
