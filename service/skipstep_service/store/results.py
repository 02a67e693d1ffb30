"""What jobs made, as files of a folder or of any fsspec file system: whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from skipstep.errors import OptionError

from ..jobs.ids import is_job_id

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\.(png|webp|jpeg|mp4|webm|gif|json)")
_CHUNK = 1 << 20


class ResultStore:
    """Files by job and name, under a URL: a path, `s3://bucket/folder`, `memory://`.

    Raises:
        OptionError: if fsspec does not know the URL, or the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
            self._files.makedirs(self._root, exist_ok=True)
        except (ValueError, ImportError, OSError) as error:
            raise OptionError(
                f"results must be a folder or an fsspec URL that can be written, got {url!r}: {error}"
            ) from error
        self.is_local = isinstance(self._files, LocalFileSystem)
        self._real_root = os.path.realpath(self._root)

    def put(self, job_id: str, name: str, data: bytes) -> None:
        """Keep a file; it is on disk when this returns.

        Raises:
            OSError: if it cannot be, with nothing left behind.
        """
        path = self._path(job_id, name)
        self._files.makedirs(f"{self._root}/{job_id}", exist_ok=True)
        if self.is_local:
            _put_locally(Path(path), data)
        else:
            self._files.pipe_file(path, data)

    def size(self, job_id: str, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        try:
            return int(self._files.size(self._readable(job_id, name)))
        except FileNotFoundError:
            return None

    def read(self, job_id: str, name: str, *, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end`."""
        with cast(BinaryIO, self._files.open(self._readable(job_id, name), "rb")) as file:
            file.seek(start)
            while start < end and (chunk := file.read(min(_CHUNK, end - start))):
                start += len(chunk)
                yield chunk

    def read_all(self, job_id: str, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: if there is none.
        """
        return b"".join(self.read(job_id, name, start=0, end=self.size(job_id, name) or 0))

    def delete(self, job_id: str) -> None:
        """Delete all files of a job; it may have none."""
        if not is_job_id(job_id):
            raise ValueError(f"no job has the name {job_id!r}")
        path = f"{self._root}/{job_id}"
        if self._files.exists(path):
            self._files.rm(path, recursive=True)

    def jobs(self) -> list[str]:
        """The jobs that have files here."""
        names = (path.rstrip("/").rpartition("/")[2] for path in self._files.ls(self._root, detail=False))
        return sorted(name for name in names if is_job_id(name))

    def total_bytes(self) -> int:
        """Bytes of all files."""
        return int(self._files.du(self._root))

    def check(self) -> None:
        """Write a file and delete it, to see that files can be written.

        Raises:
            OSError: if they cannot.
        """
        probe: Any = f"{self._root}/.writable"
        self._files.pipe_file(probe, b"x" * 4096)
        self._files.rm_file(probe)

    def _readable(self, job_id: str, name: str) -> str:
        """The same, where it is a file of this folder: a link could lead to any other.

        Raises:
            FileNotFoundError: if it is none.
        """
        path = self._path(job_id, name)
        if self.is_local and os.path.realpath(path) != os.path.join(self._real_root, job_id, name):
            raise FileNotFoundError(path)
        return path

    def _path(self, job_id: str, name: str) -> str:
        """The names are ours; they are checked so that whatever a client sends, nothing else is opened."""
        if not is_job_id(job_id) or not _NAME.fullmatch(name):
            raise ValueError(f"no result has the name {job_id!r}/{name!r}")
        return f"{self._root}/{job_id}/{name}"


def _put_locally(path: Path, data: bytes) -> None:
    """On disk before it has its name, and its name on disk too."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
