"""Jobs that wait, in the order in which they are to run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from ..engines.protocol import Task
from ..jobs.live import LiveJob

AGEING_S = 60.0  # of waiting are worth one class of priority


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A job in the queue; jobs of one key can share a batch. One that is held has its place, and is not given out."""

    job: LiveJob
    tasks: Sequence[Task]
    is_held: bool = False
    since: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> Hashable:
        """Of all its rows."""
        return self.tasks[0].key

    @property
    def rows(self) -> int:
        """Of a batch that it takes."""
        return len(self.tasks)

    def rank(self, now: float) -> tuple[float, float, str]:
        """Lower goes first: the class, less one for every minute of waiting, then who came first."""
        aged = self.job.row.priority - (now - self.since) // AGEING_S
        return aged, self.job.row.created_at, self.job.row.id


class JobQueue:
    """Jobs that wait. `patience_s`: a job that waited that long lets none of another key go ahead of it."""

    def __init__(self, *, patience_s: float = 5.0) -> None:
        self.patience_s = patience_s
        self._waiting: dict[str, Waiting] = {}
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting) -> None:
        """Let a job wait."""
        with self._changed:
            self._waiting[waiting.job.row.id] = waiting
            self._changed.notify_all()

    def release(self, job_id: str, tasks: Sequence[Task]) -> None:
        """Let a job that was held run, with these tasks; nothing is done if it does not wait any more."""
        with self._changed:
            waiting = self._waiting.get(job_id)
            if waiting is not None:
                waiting.tasks, waiting.is_held = tasks, False
                self._changed.notify_all()

    def remove(self, job_id: str) -> LiveJob | None:
        """Take a job out, if it waits."""
        with self._changed:
            found = self._waiting.pop(job_id, None)
        return None if found is None else found.job

    def remove_where(self, unwanted: Callable[[LiveJob], bool]) -> list[LiveJob]:
        """Take out all jobs of which this holds."""
        with self._changed:
            found = [waiting for waiting in self._waiting.values() if unwanted(waiting.job)]
            for waiting in found:
                del self._waiting[waiting.job.row.id]
        return [waiting.job for waiting in found]

    def head(self, timeout_s: float) -> Waiting | None:
        """Who is next, taken out; None if nobody came in that time, or the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._free() or self._is_closed, timeout_s)
            free = self._free()
            if self._is_closed or not free:
                return None
            first = free[0]
            del self._waiting[first.job.row.id]
            return first

    def joining(self, key: Hashable, rows: int) -> list[Waiting]:
        """Those that may join a batch of this key with so many rows free, taken out."""
        with self._changed:
            if self._is_closed:
                return []
            now, found = time.monotonic(), []
            for waiting in self._free():
                if waiting.key != key:
                    if now - waiting.since > self.patience_s:
                        break  # the batch has to end for this one
                    continue
                if waiting.rows > rows:
                    break
                rows -= waiting.rows
                found.append(waiting)
                del self._waiting[waiting.job.row.id]
            return found

    def up_to(self, job_id: str) -> list[Waiting]:
        """The jobs that go first, by now, and the job itself, the last; none if it does not wait."""
        order = self.in_order()
        return next((order[: place + 1] for place, one in enumerate(order) if one.job.row.id == job_id), [])

    def in_order(self) -> list[Waiting]:
        """All that wait."""
        with self._changed:
            return self._in_order()

    def close(self) -> list[LiveJob]:
        """Give out no more jobs; those that wait."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            return [waiting.job for waiting in self._waiting.values()]

    def _free(self) -> list[Waiting]:
        return [waiting for waiting in self._in_order() if not waiting.is_held]

    def _in_order(self) -> list[Waiting]:
        now = time.monotonic()
        return sorted(self._waiting.values(), key=lambda waiting: waiting.rank(now))
