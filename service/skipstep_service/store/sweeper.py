"""Deletes what is old: jobs and files some time after their end, the oldest first where the disk has no room."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa
import structlog

from ..jobs.ids import new_job_id
from .job_store import JobStore
from .results import ResultStore

_AT_ONCE = 100
_EVERY_S = 60.0
_YOUNG_S = 3600.0
log = structlog.get_logger()


class Sweeper:
    """A thread that looks every minute.

    `ttl_s` seconds after their end jobs are deleted, and `events_ttl_s` after it what other servers read of them; with
    `max_bytes`, earlier, until their files take no more.
    """

    def __init__(
        self,
        store: JobStore,
        results: ResultStore,
        *,
        ttl_s: float,
        max_bytes: int | None = None,
        events_ttl_s: float = 300.0,
    ) -> None:
        self._store = store
        self._results = results
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._events_ttl_s = events_ttl_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="skipstep-sweeper", daemon=True)

    def start(self) -> None:
        """Delete what belongs to no job, then look every minute."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self, *, now: float) -> int:
        """Delete what is too old or too much; how many jobs that were."""
        deleted = 0
        if self._store.leases is not None:
            self._store.events.forget(now - self._events_ttl_s).result()
        while old := self._store.finished_before(now - self._ttl_s, limit=_AT_ONCE):
            deleted += self._delete([row.id for row in old])
        if self._max_bytes is not None:
            excess = self._results.total_bytes() - self._max_bytes
            while excess > 0 and (oldest := self._store.finished_before(now, limit=1)):
                outputs = (oldest[0].result or {}).get("outputs", ())
                excess -= sum(int(output["bytes"]) for output in outputs)
                deleted += self._delete([oldest[0].id])
        return deleted

    def sweep_orphans(self) -> int:
        """Delete files of jobs that were never accepted, because the process ended before; how many jobs that were.

        Where servers share the store, those that another may be about to accept stay.
        """
        latest = new_job_id(time.time() - _YOUNG_S) if self._store.leases is not None else None
        old = [job for job in self._results.jobs() if latest is None or job < latest]
        orphans = [job for job in old if self._store.get(job) is None]
        for job in orphans:
            self._results.delete(job)
        return len(orphans)

    def _delete(self, ids: list[str]) -> int:
        self._store.delete(ids).result()  # first the rows: a file without a row is found at the next start
        for job in ids:
            self._results.delete(job)
        return len(ids)

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                deleted = self.sweep(now=time.time())
            except (OSError, sa.exc.SQLAlchemyError) as error:
                log.warning("old jobs could not be deleted", error=str(error))
            else:
                if deleted:
                    log.info("old jobs deleted", jobs=deleted)
