"""The kernels that torch keeps of what Inductor compiled: a folder that several processes use at once."""

from __future__ import annotations

import atexit
import os
import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from ..folders import cache_folder
from ._names import LOCK
from .room import Cleared, unless_in_use

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_USERS = ".users"  # a lock for each process that uses the folder


def default_kernels() -> KernelFolder:
    """The user's cache folder for kernels.

    Raises:
        MissingExtraError, OutputError: as `cache_folder`.
    """
    return KernelFolder(cache_folder("graphs") / "inductor")


class KernelFolder:
    """A folder for torch's kernels that is not cleared while a process uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def use(self) -> None:
        """Have torch keep its kernels here until this process ends, if it was not told another place."""
        if os.environ.setdefault(VARIABLE, str(self.folder)) != str(self.folder):
            return
        users = self.folder / _USERS
        lock = FileLock(users / f"{os.getpid()}{LOCK}", timeout=0)
        with suppress(OSError):  # held by this process already, or a folder that nobody can write to
            users.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            atexit.register(lock.release)

    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def clear(self) -> Cleared:
        """Delete all kernels, if no process is using them."""
        in_use = 0
        for lock in (self.folder / _USERS).glob(f"*{LOCK}"):
            with unless_in_use(lock.with_suffix("")) as is_free:
                in_use += not is_free
        if in_use or not self.folder.is_dir():
            return Cleared(0, in_use)
        freed = self.size()
        shutil.rmtree(self.folder, ignore_errors=True)
        return Cleared(freed, 0)
