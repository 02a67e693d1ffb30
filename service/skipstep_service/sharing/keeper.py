"""Keeps the leases of a server's jobs, notices those that it has lost, and takes over those that nobody has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from ..jobs.live import LiveJob
from ..jobs.live_jobs import LiveJobs
from ..jobs.states import CANCELING
from ..store.job_store import JobRow, JobStore
from ..store.probe import STORE_DOWN

log = structlog.get_logger()


class Taker(Protocol):
    """The part of a service that has the jobs."""

    def take_row(self, row: JobRow) -> None:
        """Run a job that is this server's by now."""
        ...

    def drop(self, job: LiveJob, row: JobRow | None) -> None:
        """Run a job no more: it has ended as the row says, or is another's."""
        ...


class LeaseKeeper:
    """A thread with the server's heartbeat. `room` says how many more jobs it takes."""

    def __init__(
        self,
        store: JobStore,
        jobs: LiveJobs,
        taker: Taker,
        *,
        room: Callable[[], int],
        heartbeat_s: float,
        poll_s: float,
    ) -> None:
        assert store.leases is not None
        self._store, self._leases = store, store.leases
        self._jobs = jobs
        self._taker = taker
        self._room = room
        self._heartbeat_s, self._poll_s = heartbeat_s, poll_s
        self._renewed_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="skipstep-leases", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; leases that are not given back run out."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """What the thread does again and again.

        Raises:
            sqlalchemy.exc.OperationalError: if the database cannot be reached.
        """
        if time.monotonic() - self._renewed_at >= self._heartbeat_s:
            self._leases.renew().result()
            self._renewed_at = time.monotonic()
        self._see_to_own()
        if (room := self._room()) > 0:
            for row in self._leases.claim_free(room).result():
                log.info("a job was taken over", job=row.id, attempts=row.attempts)
                self._taker.take_row(row)

    def _see_to_own(self) -> None:
        own = self._jobs.not_ended()  # before the look, after which others may be accepted
        held = self._leases.held() if own else {}
        for job in own:
            lease, status = held.get(job.row.id, (None, None))
            if lease != job.row.lease:
                self._let_go(job)
            elif status == CANCELING:
                job.cancel_asked.set()

    def _let_go(self, job: LiveJob) -> None:
        row = self._store.get(job.row.id)
        if row is None or not row.is_done:
            log.warning("another server has a job that this one had", job=job.row.id)
        self._taker.drop(job, row)

    def _run(self) -> None:
        is_away = False
        while not self._stopping.wait(self._poll_s):
            try:
                self.look()
            except STORE_DOWN as error:
                if not is_away:
                    log.warning("leases cannot be kept", error=str(getattr(error, "orig", error)))
                is_away = True
            else:
                is_away = False
