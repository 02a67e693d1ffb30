"""The jobs of this process, and for a while those that have ended, whose events can still be followed."""

from __future__ import annotations

import threading
import time

from .live import LiveJob

_LOOK_S = 1.0  # there may be thousands


class LiveJobs:
    """By id. Of those that have ended, events are kept for `ttl_s`, and not more than `max_bytes` of them in all."""

    def __init__(self, *, ttl_s: float = 300.0, max_bytes: int = 64 * 2**20) -> None:
        self.ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._jobs: dict[str, LiveJob] = {}
        self._looked_at = float("-inf")
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def followers(self) -> int:
        """Clients that follow one of them now."""
        return sum(job.followers for job in list(self._jobs.values()))

    def get(self, job_id: str) -> LiveJob | None:
        """A job, if it is here."""
        return self._jobs.get(job_id)

    def not_ended(self) -> list[LiveJob]:
        """Those that wait or run."""
        with self._lock:
            return [job for job in self._jobs.values() if job.ended_at is None]

    def add(self, job: LiveJob) -> None:
        """Keep a job, and forget those that ended long ago or take too much."""
        with self._lock:
            self._forget_ended()
            self._jobs[job.row.id] = job

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._lock:
            self._jobs.pop(job_id, None)

    def _forget_ended(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        ended = sorted((job.ended_at, key) for key, job in self._jobs.items() if job.ended_at is not None)
        excess = sum(self._jobs[key].kept_bytes for _, key in ended) - self._max_bytes
        for ended_at, key in ended:
            if now - ended_at <= self.ttl_s and excess <= 0:
                break
            excess -= self._jobs.pop(key).kept_bytes
