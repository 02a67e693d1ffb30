"""Which model a file holds, without reading gigabytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import ModelLoadError

SAMPLED = 2**20  # bytes of each end


def file_stamp(path: Path) -> str:
    """A hash of a file's size, time and both ends: a whole one of some gigabytes takes too long to read.

    Raises:
        ModelLoadError: if it cannot be read.
    """
    try:
        state = path.stat()
        digest = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLED))
            file.seek(max(state.st_size - SAMPLED, 0))
            digest.update(file.read(SAMPLED))
    except OSError as error:
        raise ModelLoadError(f"cannot read the model {path}: {error.strerror or error}") from error
    return digest.hexdigest()
