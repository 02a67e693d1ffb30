"""Makes room in a folder of graphs; what another process is at stays."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import OutputError
from ._names import LOCK, NOTE, graph_of, is_leftover, note_of

_FORGOTTEN = 24 * 3600  # seconds after which what an interrupted process left is removed


@dataclass(frozen=True, slots=True)
class Cleared:
    """What clearing a folder freed, and how many things in it are in use and were kept."""

    freed: int  # bytes
    in_use: int

    def __add__(self, other: Cleared) -> Cleared:
        return Cleared(self.freed + other.freed, self.in_use + other.in_use)


def clear(folder: Path) -> Cleared:
    """Delete all that is a store's, but for the graphs that another process makes or loads.

    Raises:
        OutputError: if it cannot be deleted.
    """
    cleared = Cleared(0, 0)
    try:
        for name, paths in _by_graph(folder).items():
            with unless_in_use(folder / name) as is_free:
                if is_free:
                    paths.add(folder / (name + LOCK))
                    cleared += Cleared(sum(map(_deleted, paths)), 0)
                else:
                    cleared += Cleared(0, 1)
    except OSError as error:
        raise OutputError(f"cannot delete graphs in {folder}: {error.strerror or error}") from error
    return cleared


def sweep(folder: Path) -> None:
    """Delete what killed processes left."""
    for path in folder.glob("*"):
        with suppress(OSError):
            if is_leftover(path.name) and time.time() - path.stat().st_mtime >= _FORGOTTEN:
                _deleted(path)


@contextmanager
def unless_in_use(graph: Path) -> Iterator[bool]:
    """Whether the lock of a graph is ours, for the time of the block; else another process has it."""
    lock = FileLock(graph.with_name(graph.name + LOCK), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _by_graph(folder: Path) -> dict[str, set[Path]]:
    """The files and folders that are a store's, by the name of their graph."""
    found: dict[str, set[Path]] = {}
    for path in folder.glob("*"):
        own = path.name.removesuffix(NOTE)
        name = graph_of(path.name) or (own if note_of(folder / own) is not None else None)
        if name is not None:
            found.setdefault(name, set()).add(path)
    return found


def _deleted(path: Path) -> int:
    """Delete a file, or a folder and all in it; the bytes of the files."""
    if path.is_dir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path, ignore_errors=True)
        return size
    size = path.stat().st_size if path.exists() else 0
    path.unlink(missing_ok=True)
    return size
