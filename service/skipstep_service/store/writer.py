"""Every write goes through one thread, and those that wait together share one commit."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
_MOST = 256  # of one commit


@dataclass(frozen=True, slots=True)
class _Write:
    change: Callable[[sa.Connection], Any]
    done: Future[Any]


class Writer:
    """The thread that writes to a database; a write is done when it is committed."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="skipstep-store", daemon=True)
        self._thread.start()

    def submit(self, change: Callable[[sa.Connection], T]) -> Future[T]:
        """Have a change made; the future is done when it is on disk, or has the error that kept it from that."""
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # or a client that leaves cancels it, and the thread cannot set its result
        if not self._thread.is_alive():
            done.set_exception(RuntimeError("the store is closed"))
        else:
            self._writes.put(_Write(change, done))
        return done

    def close(self) -> None:
        """Finish what was submitted, and end."""
        self._writes.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            first = self._writes.get()
            writes = [] if first is None else [first]
            is_open = first is not None
            while is_open and len(writes) < _MOST:
                try:
                    following = self._writes.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    is_open = False
                else:
                    writes.append(following)
            if writes:
                self._commit(writes)

    def _commit(self, writes: list[_Write]) -> None:
        try:
            with self._engine.begin() as connection:
                made = [write.change(connection) for write in writes]
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for the write
            if len(writes) == 1 or getattr(error, "connection_invalidated", False):
                for write in writes:
                    write.done.set_exception(error)
            else:
                for write in writes:  # one of them was refused, and the others are to be made all the same
                    self._commit([write])
        else:
            for write, value in zip(writes, made, strict=True):
                write.done.set_result(value)
