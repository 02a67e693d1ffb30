"""How many jobs may wait."""

from __future__ import annotations

import time

from ..store.job_store import JobStore
from ..store.probe import STORE_DOWN
from .queue import JobQueue

_LOOK_S = 0.5


class Room:
    """Of one server's queue, or with `counts_all` of the store, which is looked at now and then."""

    def __init__(self, queue: JobQueue, store: JobStore, *, most: int, counts_all: bool) -> None:
        self.most = most
        self._queue = queue
        self._store = store
        self._counts_all = counts_all
        self._looked_at = float("-inf")
        self._waiting = 0

    def waiting(self) -> int:
        """Jobs that wait."""
        if not self._counts_all:
            return len(self._queue)
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._looked_at = time.monotonic()
            self._waiting = self._count()
        return self._waiting

    def free(self) -> int:
        """Jobs that have room."""
        return max(0, self.most - self.waiting())

    def _count(self) -> int:
        assert self._store.leases is not None
        try:
            return self._store.leases.waiting()
        except STORE_DOWN:
            return 0  # who accepts a job will see that it cannot be kept
