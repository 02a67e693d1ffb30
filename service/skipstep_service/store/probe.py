"""Whether jobs and files can be written, asked for readiness and told by what failed."""

from __future__ import annotations

import errno
import time

import sqlalchemy as sa

from skipstep.errors import OptionError

from ..errors import ApiError, NoSpaceError, StoreDownError
from .job_store import JobStore
from .lock import StoreLock
from .results import ResultStore

STORE_DOWN = (sa.exc.OperationalError, sa.exc.InterfaceError)
"""What a database that cannot be written or reached raises."""

_EVERY_S = 5.0
_DISK_FULL = "53100"  # of PostgreSQL


class Probe:
    """Asks every few seconds; while something refuses, every time."""

    def __init__(self, store: JobStore, results: ResultStore, lock: StoreLock) -> None:
        self._store = store
        self._results = results
        self._lock = lock
        self._asked_at = float("-inf")
        self._problem: str | None = None

    def note(self, error: Exception) -> ApiError:
        """Something could not be written; what its client is told."""
        self._asked_at, self._problem = time.monotonic(), str(error)
        if is_disk_full(error):
            return NoSpaceError("the server cannot keep the job: its disk is full; try again later")
        return StoreDownError("the server cannot keep the job: its store does not answer; try again", retry_after_s=2)

    def problem(self) -> str | None:
        """What cannot be written; None if all can."""
        if self._problem is not None or time.monotonic() - self._asked_at > _EVERY_S:
            try:
                self._lock.check()
                self._store.check()
                self._results.check()
                self._problem = None
            except OptionError as error:
                self._problem = str(error)
            except (OSError, sa.exc.SQLAlchemyError) as error:
                self._problem = f"the store cannot be written: {error}"
            self._asked_at = time.monotonic()
        return self._problem


def is_disk_full(error: Exception) -> bool:
    """Whether there was no room: what SQLite says then has several forms, and its other reasons are rare."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = getattr(error, "orig", None)
    return type(cause).__module__ == "sqlite3" or getattr(cause, "sqlstate", None) == _DISK_FULL
