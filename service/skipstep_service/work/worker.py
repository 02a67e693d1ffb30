"""The thread that owns the models: it takes jobs, lets them share batches, and runs pass after pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from ..engines.protocol import Engine, Rows
from ..jobs.live import LiveJob
from ..jobs.states import CANCELED, EXPIRED, RUNNING
from ..store.job_store import JobStore
from ..store.probe import STORE_DOWN
from .estimates import Estimates
from .finisher import Finisher
from .queue import JobQueue, Waiting
from .running import RunningJob

_IDLE_S = 0.5
_LATE = {"code": "deadline", "message": "the job was not done within its timeout_s"}
log = structlog.get_logger()


class Worker:
    """One thread for one device.

    `is_ready` once the engine is warm. With `joins`, jobs join a running batch (phase-aligned continuous batching);
    without, batches are of those that wait when it begins.
    """

    def __init__(
        self,
        engine: Engine,
        queue: JobQueue,
        store: JobStore,
        finisher: Finisher,
        *,
        estimates: Estimates,
        max_rows: int = 8,
        joins: bool = True,
    ) -> None:
        self.is_ready = False
        self.failure: str | None = None
        self._engine = engine
        self._queue = queue
        self._store = store
        self._finisher = finisher
        self._estimates = estimates
        self._max_rows = max_rows
        self._joins = joins
        self._looked_at = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="skipstep-worker", daemon=True)
        self.running: list[RunningJob] = []

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Take no more jobs; whether those that run ended in that time."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            self._engine.warm_up()
            self.is_ready = True
            while not self._stopping.is_set():
                first = self._queue.head(_IDLE_S)
                self._drop_unwanted_waiting()
                if first is not None:
                    self._run_batch(first)
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"
            log.exception("the worker ended")
            raise
        finally:
            self.is_ready = False

    def _run_batch(self, first: Waiting) -> None:
        try:
            rows = self._engine.open(first.key)
        except Exception as error:  # noqa: BLE001 - a model or a LoRA that cannot be loaded is of no concern to others
            self._finisher.fail(first.job, error)
            return
        self._begin([first], rows)
        if not self._joins:
            self._admit(first.key, rows)
        while self.running:
            self._drop_unwanted_waiting()
            if self._joins and rows.is_joinable:
                self._admit(first.key, rows)
            self._end_unwanted(rows)
            if rows.count:
                for running in self.running:
                    running.most_rows = max(running.most_rows, rows.count)
                self._step(rows)
            self._end_done()

    def _step(self, rows: Rows) -> None:
        try:
            rows.step()
        except Exception as error:  # noqa: BLE001 - of the batch as a whole: nothing is known of its rows any more
            for running in self.running:
                self._finisher.fail(running.job, error)
            self.running = []

    def _admit(self, key: object, rows: Rows) -> None:
        if not self._stopping.is_set() and rows.count < self._max_rows:
            self._begin(self._queue.joining(key, self._max_rows - rows.count), rows)

    def _begin(self, waiting: Sequence[Waiting], rows: Rows) -> None:
        beginning = [one for one in waiting if not self._is_over(one.job)]
        if not beginning:
            return
        # on disk before they run, so that one that kills the process is not tried for ever; a full disk is no reason
        noted = self._store.begin([one.job.row for one in beginning], now=time.time())
        begun = None if noted.exception() is not None else noted.result()
        for one in beginning:
            job = one.job
            if begun is not None and job.row.id not in begun and self._is_gone(job):
                continue
            job.begin_attempt(job.row.attempts + 1)
            job.tell("status", status=RUNNING)
            try:
                running = RunningJob(job, one.tasks)
                running.start(rows)
            except Exception as error:  # noqa: BLE001 - it is this job's
                self._finisher.fail(job, error)
                continue
            self.running.append(running)
        self._end_done()

    def _is_over(self, job: LiveJob) -> bool:
        """Whether a job that waited is not wanted any more; it is ended then."""
        if job.cancel_asked.is_set():
            self._finisher.end(job, CANCELED)
        elif time.time() > job.row.deadline_at:
            self._finisher.end(job, EXPIRED, error=_LATE)
        else:
            return False
        return True

    def _is_gone(self, job: LiveJob) -> bool:
        """Whether a job that could not be begun is another server's by now, and not just canceled."""
        try:
            row = self._store.get(job.row.id)
        except STORE_DOWN:
            return False
        is_gone = row is None or row.lease != job.row.lease
        if is_gone:
            job.lose()
        return is_gone

    def _drop_unwanted_waiting(self) -> None:
        now = time.time()
        if now - self._looked_at < _IDLE_S:
            return
        self._looked_at = now
        for job in self._queue.remove_where(lambda job: now > job.row.deadline_at or job.cancel_asked.is_set()):
            self._is_over(job)

    def _end_unwanted(self, rows: Rows) -> None:
        now, going_on = time.time(), []
        for running in self.running:
            is_late = now > running.job.row.deadline_at
            if not is_late and not running.job.cancel_asked.is_set():
                going_on.append(running)
                continue
            running.cancel(rows)
            if is_late:
                self._finisher.end(running.job, EXPIRED, error=_LATE)
            else:
                self._finisher.end(running.job, CANCELED)
        self.running = going_on

    def _end_done(self) -> None:
        for running in [one for one in self.running if one.is_done]:
            self.running.remove(running)
            seconds = time.monotonic() - running.begun_at
            if running.error is not None:
                self._finisher.fail(running.job, running.error)
                continue
            self._estimates.note(running.tasks, seconds, rows=running.most_rows)
            figures = {
                "batch": running.most_rows,
                "queue_ms": round((running.begun_at - running.job.accepted_at) * 1000, 3),
                "run_ms": round(seconds * 1000, 3),
            }
            self._finisher.succeed(running.job, running.made, figures)
