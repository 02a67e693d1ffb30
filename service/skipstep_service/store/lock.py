"""One server for one SQLite store, and one of a name for PostgreSQL's: a second would take the first's jobs for those
of a crash."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import sqlalchemy as sa
import structlog
from filelock import FileLock, Timeout

from skipstep.errors import OptionError

_EVERY_S = 0.2
_POSTGRESQL_KEY = 0x736B6970  # of an advisory lock; any number that others do not use
log = structlog.get_logger()


class StoreLock:
    """Held by a process until it closes it, or ends in whatever way.

    On SQLite it is a lock on a file beside the database, on PostgreSQL an advisory lock of a session, and nothing for a
    server without a name.
    """

    def __init__(self, engine: sa.Engine, name: str | None = None) -> None:
        self._engine = engine
        self._name = name
        self._file: FileLock | None = None
        self._session: sa.Connection | None = None

    def acquire(self, timeout_s: float) -> None:
        """Have it, when a server that is about to end has let go of it.

        Raises:
            OptionError: if another server still has it then.
        """
        if self._engine.dialect.name == "sqlite":
            database = self._engine.url.database
            if not database or database == ":memory:":
                return  # nobody else has it
            path = Path(database).with_name(f"{Path(database).name}.lock")
            self._file = FileLock(path, thread_local=False)
            self._until(self._lock_file, timeout_s)
        elif self._name is not None:
            self._until(self._lock_session, timeout_s)

    def check(self) -> None:
        """See that it is still held: a session ends when its database server does; then have it again.

        Raises:
            OptionError: if another server has it by now.
            sqlalchemy.exc.OperationalError: if the database cannot be reached.
        """
        if self._session is None:
            return
        try:
            self._session.execute(sa.select(1))
            self._session.rollback()
        except (sa.exc.OperationalError, sa.exc.InterfaceError):
            self._session.invalidate()
            self._session.close()
            self._session = None
            self._until(self._lock_session, 0.0)

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.release()
        if self._session is not None:
            self._session.close()
            self._session = None

    def _until(self, is_locked: Callable[[], bool], timeout_s: float) -> None:
        end, is_told = time.monotonic() + timeout_s, False
        while not is_locked():
            if time.monotonic() >= end:
                shown = self._engine.url.render_as_string(hide_password=True)
                named = "" if self._name is None else f" as {self._name}"
                raise OptionError(
                    f"another server has the store {shown}{named}; end it, or give this one another "
                    f"{'store' if self._name is None else 'SKIPSTEP_SERVER_ID'}"
                )
            if not is_told:
                log.warning("another server has the store; waiting for it to end", timeout_s=timeout_s)
                is_told = True
            time.sleep(_EVERY_S)

    def _lock_file(self) -> bool:
        assert self._file is not None
        try:
            self._file.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def _lock_session(self) -> bool:
        session = self._engine.connect()
        key = crc32(str(self._name).encode()) >> 1  # an integer of 32 bits with a sign, there
        is_locked = bool(session.scalar(sa.select(sa.func.pg_try_advisory_lock(_POSTGRESQL_KEY, key))))
        session.rollback()  # the lock is the session's, and not the transaction's
        if is_locked:
            session.detach()  # or the pool would keep it open
            self._session = session
        else:
            session.close()
        return is_locked
