"""A place that machines share compiled graphs through: a folder of all, or any fsspec file system."""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, OptionError
from ..hashes import file_sha256
from ._host import host_identity
from ._names import NOTE, note_of
from ._patience import watched
from .store import LIMIT, GraphStore, default_store

PATIENCE_S = 15.0  # without a byte, after which a place counts as hanging
_CHUNK, _LONGEST_NOTE = 2**20, 2**16  # bytes
_SHA256 = re.compile(r"[0-9a-f]{64}")
log = logging.getLogger("skipstep.compile")


def shared_store(shared: SharedGraphs, limit: int = LIMIT) -> GraphStore:
    """The user's cache folder for graphs, of which `shared` has what other machines made.

    Raises:
        MissingExtraError, OutputError: as `default_store`.
    """
    return GraphStore(default_store(limit).folder, limit, shared=shared)


class SharedGraphs:
    """Graphs under `url`, for machines whose processors, Python and torch are alike.

    Whoever can write there runs code on all of these machines. Files are called by their SHA-256; notes, which come
    last, say which of them is the graph of a name, so that two who bring one at once leave a whole one. Nothing here
    raises once it is made: a place that fails or hangs is not asked again, and graphs are made here.

    Raises:
        MissingExtraError: without fsspec.
        OptionError: if fsspec does not know such a URL, or lacks the package for it.
    """

    def __init__(self, url: str, *, patience_s: float | None = None) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise MissingExtraError("sharing graphs needs fsspec: pip install 'skipstep[service]'") from error
        try:
            fsspec.get_filesystem_class(url.partition("://")[0] if "://" in url else "file")
        except (ValueError, ImportError) as error:
            raise OptionError(f"graphs are shared through a folder or an fsspec URL, got {url!r}: {error}") from error
        self.url = url
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._is_given_up = False
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._uploads = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def fetch(self, name: str, made: Path) -> str | None:
        """Write the graph of this name to `made`; its title, or None if there is none that is whole."""
        if self._is_given_up:
            return None
        try:
            return watched(partial(self._download, name, made), self._patience_s)
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("the shared graph %s in %s is not used: %s; it is made anew", name, self.url, error)
        except Exception as error:  # noqa: BLE001  each kind of place has errors of its own
            self._is_given_up = True
            log.warning("shared graphs in %s are not looked for any more: %s", self.url, _reason(error))
        return None

    def offer(self, path: Path) -> None:
        """Bring a graph and its note, in the background, unless there is one of its name."""
        self._later(partial(self._upload_missing, path))

    def replace(self, path: Path) -> None:
        """Bring a graph and its note, in the background, in place of what is there."""
        self._later(partial(self._upload, path))

    def close(self, timeout_s: float) -> bool:
        """Wait for what is being brought; whether all of it was tried."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._uploads, timeout_s)

    def _later(self, upload: Callable[[], None]) -> None:
        with self._changed:
            self._uploads += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._bring, name="skipstep-shared-graphs", daemon=True)
                self._thread.start()
        self._waiting.put(upload)

    def _bring(self) -> None:
        while True:
            upload = self._waiting.get()
            try:
                upload()
            except Exception as error:  # noqa: BLE001  as of `fetch`; this machine has the graph
                log.warning("a graph was not shared in %s: %s", self.url, _reason(error))
            with self._changed:
                self._uploads -= 1
                self._changed.notify_all()

    def _opened(self) -> tuple[Any, str]:
        """The file system, which some connect to here, and the folder in it."""
        import fsspec

        files, root = fsspec.core.url_to_fs(self.url)
        return files, f"{root.rstrip('/')}/{host_identity()}"

    def _download(self, name: str, made: Path, progress: Callable[[], None]) -> str:
        files, root = self._opened()
        note = _read_note(files, f"{root}/{name}{NOTE}")
        progress()
        left = note["size"]
        with files.open(f"{root}/{note['sha256']}", "rb") as source, made.open("wb") as target:
            while left >= 0 and (chunk := source.read(_CHUNK)):
                progress()
                left -= target.write(chunk)
        if left or file_sha256(made) != note["sha256"]:
            raise ValueError("its file is not the one that was noted")
        return str(note["title"])

    def _upload_missing(self, path: Path) -> None:
        files, root = self._opened()
        if not files.exists(f"{root}/{path.name}{NOTE}"):
            self._upload(path)

    def _upload(self, path: Path) -> None:
        note = note_of(path)
        if note is None:
            raise FileNotFoundError(f"{path.name} is here no more")
        files, root = self._opened()
        files.makedirs(root, exist_ok=True)
        _put(files, f"{root}/{note['sha256']}", lambda to: files.put_file(str(path), to))
        text = json.dumps(note).encode()
        _put(files, f"{root}/{path.name}{NOTE}", lambda to: files.pipe_file(to, text))


def _put(files: Any, path: str, write: Callable[[str], None]) -> None:
    """Whole or not at all: objects are, files of a folder are once they are renamed."""
    from fsspec.implementations.local import LocalFileSystem

    if not isinstance(files, LocalFileSystem):
        write(path)
        return
    unfinished = f"{path}.{uuid.uuid4().hex}.unfinished"
    try:
        write(unfinished)
        os.replace(unfinished, path)
    except OSError:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


def _read_note(files: Any, path: str) -> dict[str, Any]:
    with files.open(path, "rb") as file:
        text = file.read(_LONGEST_NOTE)
    try:
        note = json.loads(text)
        size, sha256, title = int(note["size"]), str(note["sha256"]), str(note["title"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError("its note cannot be read") from error
    if size < 0 or _SHA256.fullmatch(sha256) is None:  # which is opened as a file
        raise ValueError("its note names no file")
    return {"size": size, "sha256": sha256, "title": title}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
