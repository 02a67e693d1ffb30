"""Jobs of other servers, as their clients here follow them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import structlog

from ..jobs.live import LiveJob
from ..store.job_store import JobRow, JobStore
from ..store.probe import STORE_DOWN
from .telling import EVERY_S

_KEPT_S = 10.0  # without anybody who looks
_LATE_S = 1.0  # after a job's end, for its last events
log = structlog.get_logger()


@dataclass(eq=False)
class _Mirror:
    job: LiveJob
    looked_at: float = field(default_factory=time.monotonic)
    last: tuple[int, int] | None = None
    is_cancel_sent: bool = False
    over_since: float | None = None


class Mirrors:
    """Repeats events of jobs that somebody looks at here, and passes on that they are to end."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._mirrors: dict[str, _Mirror] = {}
        self._lock = threading.Lock()
        self._changed, self._hurry = threading.Event(), threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="skipstep-mirrors", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._changed.set()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, row: JobRow) -> LiveJob:
        """A job of another server, whose events come as long as somebody follows them."""
        with self._lock:
            mirror = self._mirrors.get(row.id)
            if mirror is None:
                mirror = self._mirrors[row.id] = _Mirror(LiveJob(row))
            mirror.looked_at = time.monotonic()
        self._changed.set()
        return mirror.job

    def hurry(self) -> None:
        """Look now: something has ended."""
        self._hurry.set()

    def look(self) -> None:
        """Repeat what is new.

        Raises:
            sqlalchemy.exc.OperationalError: if the database cannot be reached.
        """
        now = time.monotonic()
        with self._lock:
            for key, mirror in list(self._mirrors.items()):
                if not mirror.job.followers and now - mirror.looked_at > _KEPT_S and not _is_to_end(mirror):
                    del self._mirrors[key]
            mirrors = list(self._mirrors.values())
        for mirror in mirrors:
            if mirror.job.ended_at is None:
                self._repeat(mirror, now)

    def _repeat(self, mirror: _Mirror, now: float) -> None:
        job = mirror.job
        if _is_to_end(mirror):
            self._store.cancel(job.row.id, now=time.time()).result()
            mirror.is_cancel_sent = True
        for event in self._store.events.after(job.row.id, mirror.last):
            mirror.last = event.attempt, event.number
            job.repeat(event)
        if job.ended_at is not None:
            return
        row = self._store.get(job.row.id)
        if row is None:
            job.lose()
        elif row.is_done:
            mirror.over_since = mirror.over_since or now
            if now - mirror.over_since > _LATE_S:  # it ended before a server could tell
                job.begin_attempt(max(row.attempts, mirror.last[0] if mirror.last else 0) + 1)
                job.tell("status", status=row.status, **_made_by(row))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            if not self._mirrors:
                self._changed.clear()
                continue
            self._hurry.clear()
            try:
                self.look()
            except STORE_DOWN as error:
                log.warning("events of other servers cannot be read", error=str(getattr(error, "orig", error)))
            self._hurry.wait(EVERY_S)


def _is_to_end(mirror: _Mirror) -> bool:
    return mirror.job.cancel_asked.is_set() and not mirror.is_cancel_sent and mirror.job.ended_at is None


def _made_by(row: JobRow) -> dict[str, object]:
    made = {"result": row.result, "error": row.error}
    return {name: value for name, value in made.items() if value is not None}
