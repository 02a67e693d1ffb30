"""A folder of compiled graphs: whole files only, two processes at once, a size limit."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from ..errors import MissingExtraError, OptionError, OutputError

Loaded = TypeVar("Loaded")
LIMIT = 20 * 2**30  # bytes
BAD = ".bad"
MAKING = ".making-"  # folders of graphs in the making
_NOTE, _LOCK, _UNFINISHED = ".json", ".lock", ".part"
_MARKS = (_NOTE, _LOCK, _UNFINISHED, BAD)
# what is ours by its name: the folder may be one that holds files of others, a package.json or a poetry.lock
_LEFT = re.compile(r".+\.(pt2|blob)(\.bad|\.\d+\.part(\.json)?)")
_BESIDE = re.compile(r".+\.(pt2|blob)\.(json|lock)")
_FORGOTTEN = 24 * 3600  # seconds after which what an interrupted process left is removed


def default_store(limit: int = LIMIT) -> GraphStore:
    """The user's cache folder for graphs, as the operating system has it.

    Raises:
        MissingExtraError: without platformdirs.
    """
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtraError("a folder for graphs needs platformdirs: pip install 'skipstep[cli]'") from error
    return GraphStore(user_cache_path("skipstep") / "graphs", limit)


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
    system's, so that those of a killed process are free.

    Raises:
        OutputError: if the folder cannot be made or written to.
        OptionError: if the limit is below 1.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        if limit < 1:
            raise OptionError(f"the size limit of the graph cache must be 1 byte or more, got {limit}")
        self.folder = folder
        self.limit = limit

    def path(self, name: str) -> Path:
        """Where a file is, or would be."""
        return self.folder / name

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one process at a time makes or loads a file of this name; the others wait."""
        lock = FileLock(self.path(name + _LOCK))
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def load(self, name: str, read: Callable[[Path], Loaded]) -> Loaded | None:
        """What `read` makes of the file; None, with the file set aside, if it is not whole or `read` raises."""
        path = self.path(name)
        note = self._note(name)
        if note is None or not path.is_file():
            return None
        if not _is_whole(path, note):
            self._set_aside(name)
            return None
        try:
            loaded = read(path)
        except Exception:  # noqa: BLE001  whatever is wrong with it, a new one can be made
            self._set_aside(name)
            return None
        with suppress(OSError):
            os.utime(path)
        return loaded

    def put(self, name: str, made: Path, *, title: str) -> None:
        """Move a finished file in; what was not used for longest makes room."""
        with self._writing():
            size, sha256 = made.stat().st_size, _sha256(made)
            note = made.with_name(made.name + _NOTE)
            note.write_text(json.dumps({"size": size, "sha256": sha256, "title": title}))
            self._make_room(size, besides=name)
            shutil.move(note, self.path(name + _NOTE))  # first: a file without a note would never be cleared
            shutil.move(made, self.path(name))

    def write(self, name: str, data: bytes, *, title: str) -> None:
        """The same for bytes."""
        made = self.path(f"{name}.{os.getpid()}{_UNFINISHED}")
        with self._writing():
            made.write_bytes(data)
        self.put(name, made, title=title)

    def graphs(self) -> list[StoredGraph]:
        """What is kept, latest used first."""
        found = []
        for path in self.folder.glob("*"):
            note = self._note(path.name) if path.suffix not in _MARKS else None
            if note is not None and path.is_file():
                stat = path.stat()
                found.append(StoredGraph(name=path.name, title=note["title"], size=stat.st_size, used=stat.st_mtime))
        return sorted(found, key=lambda graph: -graph.used)

    def clear(self) -> int:
        """Delete everything in the folder that is the store's; the bytes that were freed."""
        ours = [path for path in self.folder.glob("*") if self._is_ours(path)]
        freed = 0
        for path in ours:
            if path.is_file():
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
            elif path.name.startswith(MAKING):
                shutil.rmtree(path, ignore_errors=True)
        return freed

    def _is_ours(self, path: Path) -> bool:
        has_note = self._note(path.name.removesuffix(_NOTE)) is not None
        return has_note or _is_leftover(path) or _BESIDE.fullmatch(path.name) is not None

    def _note(self, name: str) -> dict[str, Any] | None:
        try:
            note = json.loads(self.path(name + _NOTE).read_text(encoding="utf-8"))
            return {"size": int(note["size"]), "sha256": str(note["sha256"]), "title": str(note["title"])}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _set_aside(self, name: str) -> None:
        """Out of the way, but kept for who wants to know what happened."""
        with suppress(OSError):
            self.path(name).replace(self.path(name + BAD))
            os.utime(self.path(name + BAD))  # it is kept from now on, however old it was
        self.path(name + _NOTE).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"cannot keep graphs in {self.folder}: {error.strerror or error}") from error

    def _make_room(self, size: int, *, besides: str) -> None:
        self._sweep()
        kept = [graph for graph in self.graphs() if graph.name != besides]
        total = size + sum(graph.size for graph in kept)
        for graph in reversed(kept):
            if total <= self.limit:
                return
            self.path(graph.name).unlink(missing_ok=True)
            self.path(graph.name + _NOTE).unlink(missing_ok=True)
            total -= graph.size

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        for path in self.folder.glob("*"):
            with suppress(OSError):
                if not _is_leftover(path) or time.time() - path.stat().st_mtime < _FORGOTTEN:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(MAKING) or _LEFT.fullmatch(path.name) is not None


def _is_whole(path: Path, note: dict[str, Any]) -> bool:
    try:
        return bool(path.stat().st_size == note["size"] and _sha256(path) == note["sha256"])
    except OSError:  # not readable, or another process made room just now
        return False


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
    return total.hexdigest()
