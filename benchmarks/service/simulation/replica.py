"""A replica: its queue, and batches that rows join at full passes, as the service's worker runs them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import simpy
from skipstep_service.work.queue import AGEING_S

from .jobs import Job
from .timing import Timing

PATIENCE_S = 5.0


@dataclass(slots=True)
class _Row:
    job: Job
    done: int = 0  # passes


class Replica:
    """One GPU with one worker. `on_end` is told of each job that left the GPU."""

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        *,
        timing: Timing,
        passes: str,
        max_rows: int,
        on_end: Callable[[Job, int], None],
    ) -> None:
        self.number = number
        self.is_leaving = False
        self.busy_s = 0.0
        self.row_passes = 0
        self.passes = 0
        self._env = env
        self._timing = timing
        self._kinds = passes
        self._max_rows = max_rows
        self._on_end = on_end
        self._waiting: list[Job] = []
        self._woken: simpy.Event | None = None
        self._reuses = _reuses_after(passes)

    def put(self, job: Job) -> None:
        """Let a job wait here."""
        job.placed_at = self._env.now
        self._waiting.append(job)
        self._wake()

    def leave(self) -> None:
        """End when all it has is done."""
        self.is_leaving = True
        self._wake()

    def work(self) -> Generator[simpy.Event, Any, None]:
        """The worker."""
        while True:
            while not self._waiting:
                if self.is_leaving:
                    return
                self._woken = self._env.event()
                yield self._woken
            first = min(self._waiting, key=self._rank)
            self._waiting.remove(first)
            yield from self._run_batch(first)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.triggered:
            self._woken.succeed()

    def _run_batch(self, first: Job) -> Generator[simpy.Event, Any, None]:
        rows = [_Row(first)]
        yield self._begun(1)
        while rows:
            joining = self._joining(first.key, self._max_rows - len(rows))
            if joining:
                rows += [_Row(job) for job in joining]
                yield self._begun(len(joining))
            rows = yield from self._run_group(rows)

    def _begun(self, rows: int) -> simpy.Event:
        return self._takes((self._timing.commit_ms + rows * self._timing.begin_ms) / 1000)

    def _takes(self, seconds: float) -> simpy.Event:
        self.busy_s += seconds
        return self._env.timeout(seconds)

    def _run_group(self, rows: list[_Row]) -> Generator[simpy.Event, Any, list[_Row]]:
        """A full pass of all rows and the reuse passes before their next ones; the rows that go on.

        Passes up to one that ends a row are one event.
        """
        reuses = [self._reuses[row.done] for row in rows]
        pending = 0.0
        for place in range(max(reuses) + 1):
            taking = [row for row, count in zip(rows, reuses, strict=True) if place <= count]
            pending += self._timing.pass_s("r" if place else "F", len(taking))
            self.passes += 1
            self.row_passes += len(taking)
            for row in taking:
                row.done += 1
            ended = [row for row in taking if row.done == len(self._kinds)]
            if ended:
                yield self._takes(pending + len(ended) * self._timing.end_ms / 1000)
                pending = 0.0
                for row in ended:
                    self._on_end(row.job, self.number)
        if pending:
            yield self._takes(pending)
        return [row for row in rows if row.done < len(self._kinds)]

    def _rank(self, job: Job) -> tuple[float, int]:
        return job.priority - (self._env.now - job.placed_at) // AGEING_S, job.number

    def _joining(self, key: int, room: int) -> list[Job]:
        """Those that join, taken out: of this key, up to one of another that lost its patience."""
        if not self._waiting or room < 1:
            return []
        found: list[Job] = []
        for job in sorted(self._waiting, key=self._rank):
            if job.key != key:
                if self._env.now - job.placed_at > PATIENCE_S:
                    break
            elif len(found) < room:
                found.append(job)
        taken = {job.number for job in found}
        self._waiting = [job for job in self._waiting if job.number not in taken]
        return found


def _reuses_after(kinds: str) -> list[int]:
    """For each pass, the reuse passes that follow it at once."""
    counts = [0] * len(kinds)
    for place in range(len(kinds) - 2, -1, -1):
        counts[place] = counts[place + 1] + 1 if kinds[place + 1] == "r" else 0
    return counts
