"""Files and folders that appear whole or not at all: made beside their place, then renamed into it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


def write_whole(path: Path, data: bytes | None) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part; None only tries.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    if data is None:
        with unfinished_file(path):
            return
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """An empty file for the block to write to, which takes the place of `path` when the block is through.

    If the block raises, or is interrupted, `path` stays as it was and nothing is left behind.

    Raises:
        OutputError: if it cannot be written; an OSError of the block becomes one.
    """
    with unfinished_file(path) as unfinished:
        yield unfinished
        sync(unfinished)
        unfinished.chmod(0o666 & ~umask())
        unfinished.replace(os.path.realpath(path))  # a link stays a link


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder for the block to fill, which becomes `path` when the block is through.

    If the block raises, or is interrupted, nothing is left behind.

    Raises:
        OutputError: if `path` is there and is no empty folder, or cannot be written; an OSError of the block becomes
            one.
    """
    with output_errors(path):
        check_free(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=path.parent, prefix=".skipstep-", suffix=".part"))
        try:
            yield unfinished
            for file in unfinished.iterdir():
                sync(file)
                file.chmod(0o666 & ~umask())
            unfinished.chmod(0o777 & ~umask())
            if path.is_dir():
                path.rmdir()  # Windows renames to free names only
            unfinished.rename(path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def check_free(path: Path) -> None:
    """See that a folder can be made at `path`: there is nothing, or an empty folder.

    Raises:
        OutputError: if there is something else.
    """
    with output_errors(path):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise OutputError(f"{path} is there and no folder; name a new one")
        if path.exists() and any(path.iterdir()):
            raise OutputError(f"{path} is not empty; name a new folder")


@contextmanager
def unfinished_file(path: Path) -> Iterator[Path]:
    """An empty file in the folder of `path`, gone after the block if it still has its name."""
    with output_errors(path):
        handle, name = tempfile.mkstemp(dir=Path(os.path.realpath(path)).parent, prefix=".skipstep-", suffix=".part")
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """An OSError of the block as one that says what cannot be written, why, and what to do."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = "no space left on the device" if full else (error.strerror or str(error)).lower()
        raise OutputError(f"cannot write {path}: {reason}; choose another place") from error


def sync(path: Path) -> None:
    """Have what was written to a file on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def umask() -> int:
    """The process's, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
