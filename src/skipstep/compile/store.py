"""A folder of compiled graphs: whole files only, two processes at once, a size limit."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from ..errors import GraphNotKeptWarning, OptionError
from ..folders import cache_folder
from ._memory import raise_if_out_of_memory
from ._names import BAD, LOCK, MAKING, MARKS, NOTE, note_of
from ._notes import is_whole, write_note
from .elsewhere import Elsewhere
from .room import Cleared, clear, sweep, unless_in_use

Loaded = TypeVar("Loaded")
LIMIT = 20 * 2**30  # bytes


def default_store(limit: int = LIMIT) -> GraphStore:
    """The user's cache folder for graphs.

    Raises:
        MissingExtraError, OutputError: as `cache_folder`.
    """
    return GraphStore(cache_folder("graphs"), limit)


@dataclass(frozen=True, kw_only=True)
class StoredGraph:
    """A file of the store."""

    name: str
    title: str
    size: int  # bytes
    used: float  # seconds since 1970


class GraphStore:
    """Files that are written under another name and renamed, with a note of their size and SHA-256 beside them.

    A file that is cut short, was changed, or does not load is renamed to `.bad` and made anew. Locks are the operating
    system's, so that those of a killed process are free. In a folder that cannot be written to, graphs are read without
    a lock, and a warning says that new ones are not kept. What is not here is looked for in `shared`, which is brought
    what is made here.

    Raises:
        OptionError: if the limit is below 1.
    """

    def __init__(self, folder: Path, limit: int = LIMIT, *, shared: Elsewhere | None = None) -> None:
        if limit < 1:
            raise OptionError(f"the size limit of the graph cache must be 1 byte or more, got {limit}")
        self.folder = Path(folder)
        self.limit = limit
        self._shared = shared

    def path(self, name: str) -> Path:
        """Where a file is, or would be."""
        return self.folder / name

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one process at a time makes or loads a file of this name; the others wait."""
        lock = FileLock(self.path(name + LOCK))
        with suppress(OSError):  # where nothing can be written there is nothing to wait for
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def load(self, name: str, read: Callable[[Path], Loaded]) -> Loaded | None:
        """What `read` makes of the file; None, with the file set aside, if it is not whole or `read` raises.

        Running out of memory says nothing of the file, and is raised.
        """
        loaded = self._load(name, read)
        if self._shared is None:
            return loaded
        if loaded is None:
            return self._load(name, read) if self._fetch(name, self._shared) else None
        self._shared.offer(self.path(name))
        return loaded

    def _load(self, name: str, read: Callable[[Path], Loaded]) -> Loaded | None:
        path = self.path(name)
        note = note_of(path)
        if note is None or not path.is_file():
            return None
        if not is_whole(path, note):
            self._set_aside(name)
            return None
        try:
            loaded = read(path)
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, a new one can be made
            raise_if_out_of_memory(error)
            self._set_aside(name)
            return None
        with suppress(OSError):
            os.utime(path)
        return loaded

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """A folder to make a file of this name in, deleted afterwards; elsewhere if nothing can be written here."""
        try:
            folder = tempfile.mkdtemp(dir=self.folder, prefix=f"{MAKING}{name}-")
        except OSError:
            folder = tempfile.mkdtemp()
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def put(self, name: str, made: Path, *, title: str) -> None:
        """Move a finished file in; what was not used for longest makes room."""
        with self._keeping():
            self._move_in(name, made, title)
            if self._shared is not None:
                self._shared.replace(self.path(name))

    def write(self, name: str, data: bytes, *, title: str) -> None:
        """The same for bytes."""
        with self._keeping(), self.making(name) as folder:
            made = folder / name
            made.write_bytes(data)
            self.put(name, made, title=title)

    def graphs(self) -> list[StoredGraph]:
        """What is kept, latest used first."""
        found = []
        for path in self.folder.glob("*"):
            note = note_of(path) if path.suffix not in MARKS else None
            if note is not None and path.is_file():
                stat = path.stat()
                found.append(StoredGraph(name=path.name, title=note["title"], size=stat.st_size, used=stat.st_mtime))
        return sorted(found, key=lambda graph: -graph.used)

    def clear(self) -> Cleared:
        """Delete everything in the folder that is the store's and that no other process is at.

        Raises:
            OutputError: if it cannot be deleted.
        """
        return clear(self.folder)

    def _fetch(self, name: str, shared: Elsewhere) -> bool:
        with self._keeping(), self.making(name) as folder:
            title = shared.fetch(name, folder / name)
            if title is not None:
                self._move_in(name, folder / name, title)
                return True
        return False

    def _move_in(self, name: str, made: Path, title: str) -> None:
        note = write_note(made, title)
        self._make_room(made.stat().st_size, besides=name)
        shutil.move(note, self.path(name + NOTE))  # first: a file without a note would never be cleared
        shutil.move(made, self.path(name))

    def _set_aside(self, name: str) -> None:
        """Out of the way, but kept for who wants to know what happened."""
        with suppress(OSError):
            self.path(name).replace(self.path(name + BAD))
            os.utime(self.path(name + BAD))  # it is kept from now on, however old it was
        with suppress(OSError):
            self.path(name + NOTE).unlink(missing_ok=True)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            warnings.warn(
                f"cannot keep graphs in {self.folder}: {error.strerror or error}; the next process makes them anew",
                GraphNotKeptWarning,
                stacklevel=4,
            )

    def _make_room(self, size: int, *, besides: str) -> None:
        sweep(self.folder)
        kept = [graph for graph in self.graphs() if graph.name != besides]
        total = size + sum(graph.size for graph in kept)
        for graph in reversed(kept):
            if total <= self.limit:
                return
            with unless_in_use(self.path(graph.name)) as is_free:
                if is_free:
                    self.path(graph.name).unlink(missing_ok=True)
                    self.path(graph.name + NOTE).unlink(missing_ok=True)
                    total -= graph.size
