"""All that a server does because others share its store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..jobs.live import LiveJob
from ..jobs.live_jobs import LiveJobs
from ..store.job_store import JobRow, JobStore
from .keeper import LeaseKeeper, Taker
from .mirrors import Mirrors
from .telling import Teller


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a server looks at the store."""

    heartbeat_s: float
    poll_s: float


class Sharing:
    """Of one server. Without `taker` it has no jobs of its own, and follows those of others alone."""

    def __init__(
        self, store: JobStore, jobs: LiveJobs, pace: Pace, *, taker: Taker | None, room: Callable[[], int]
    ) -> None:
        self.teller = Teller(store.events)
        self._mirrors = Mirrors(store)
        self._keeper: LeaseKeeper | None = None
        if taker is not None:
            self._keeper = LeaseKeeper(store, jobs, taker, room=room, heartbeat_s=pace.heartbeat_s, poll_s=pace.poll_s)

    def start(self) -> None:
        """Begin."""
        self.teller.start()
        self._mirrors.start()
        if self._keeper is not None:
            self._keeper.start()

    def stop_taking(self) -> None:
        """Take over no more jobs, and keep those that there are as long as their leases last."""
        if self._keeper is not None:
            self._keeper.stop()

    def stop(self) -> None:
        """End."""
        self._mirrors.stop()
        self.teller.stop()

    def hurry(self) -> None:
        """Look for events of others now: a job has ended."""
        self._mirrors.hurry()

    def mirror(self, row: JobRow) -> LiveJob:
        """A job of another server, to be followed here."""
        return self._mirrors.of(row)
