"""Tells other servers what happens to the jobs of this one."""

from __future__ import annotations

import threading

import sqlalchemy as sa
import structlog

from ..jobs.events import Event
from ..jobs.live import LiveJob
from ..store.shared_events import SharedEvents

EVERY_S = 0.25
_MOST = 20_000  # that wait while the database is away; the oldest go
log = structlog.get_logger()


class Teller:
    """A thread that writes what came in the last quarter of a second, all at once, and the ends of jobs right away."""

    def __init__(self, events: SharedEvents) -> None:
        self._events = events
        self._told: list[tuple[str, Event]] = []
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="skipstep-events", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Write the rest, and end."""
        self._stopping.set()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join()
        self.write()

    def on_event(self, job: LiveJob, event: Event) -> None:
        """Tell it soon."""
        with self._lock:
            self._told.append((job.row.id, event))
            del self._told[:-_MOST]
        if event.is_last:
            self._hurry.set()

    def write(self) -> None:
        """Tell what waits; it waits on if the database is away."""
        with self._writing:
            with self._lock:
                told, self._told = self._told, []
            if not told:
                return
            try:
                self._events.add(told).result()
            except (sa.exc.SQLAlchemyError, RuntimeError) as error:
                log.warning("events could not be told to other servers", error=str(getattr(error, "orig", error)))
                with self._lock:
                    self._told = [*told, *self._told][-_MOST:]

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._hurry.wait(EVERY_S)
            self._hurry.clear()
            self.write()
