"""Jobs that requests wait for right now, for APIs that ask how far "the" picture is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..jobs.live import LiveJob


class Underway:
    """By owner, in the order in which they came; of one event loop."""

    def __init__(self) -> None:
        self._jobs: dict[str, list[LiveJob]] = {}

    @contextmanager
    def waiting_for(self, job: LiveJob | None, *, owner: str) -> Iterator[None]:
        """Count the job while a request waits for it."""
        if job is None:
            yield
            return
        jobs = self._jobs.setdefault(owner, [])
        jobs.append(job)
        try:
            yield
        finally:
            jobs.remove(job)
            if not jobs:
                self._jobs.pop(owner, None)

    def of(self, owner: str) -> list[LiveJob]:
        """Those of an owner, the oldest first."""
        return [job for job in self._jobs.get(owner, ()) if job.ended_at is None]
