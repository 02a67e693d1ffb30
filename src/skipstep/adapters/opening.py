"""Opens files that somebody else made: regular files only, no links followed, nothing waited for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import AdapterError

# a pipe would block, and a link could lead anywhere; the checks are made on what was opened, not on a name
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file for reading, with its size in bytes.

    Raises:
        AdapterError: if it is missing, unreadable, a link, a pipe, a device or a folder.
    """
    try:
        handle = os.open(path, _FLAGS)
    except OSError as error:
        reason = "is a link" if path.is_symlink() else f"cannot be read ({(error.strerror or str(error)).lower()})"
        raise AdapterError(f"{path.name}: {reason}; put a copy of the file itself there") from error
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise AdapterError(f"{path.name}: is no regular file; only plain files are read")
        yield file, found.st_size


def read_small(path: Path, *, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        AdapterError: as `open_regular`, or if there are more than `limit`.
    """
    with open_regular(path) as (file, size):
        if size > limit:
            raise AdapterError(f"{path.name}: has {size} bytes; at most {limit} are read")
        return file.read(limit)
