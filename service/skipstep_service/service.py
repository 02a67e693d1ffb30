"""What routes call: jobs are accepted, followed, canceled and forgotten here."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import structlog

from .engines.protocol import Engine, Task
from .errors import BusyError, ConflictError, DrainingError, NotFoundError
from .jobs.events import Event
from .jobs.expansion import drawn, is_awaited
from .jobs.ids import is_job_id
from .jobs.live import LiveJob
from .jobs.live_jobs import LiveJobs
from .jobs.states import CANCELED, CANCELING, QUEUED
from .prompts.prompting import Prompting
from .sharing.sharing import Pace, Sharing
from .store.job_store import JobRow, JobStore
from .store.lock import StoreLock
from .store.probe import STORE_DOWN, Probe
from .store.results import ResultStore
from .store.sweeper import Sweeper
from .webhooks.deliverer import Deliverer
from .work.estimates import Estimates
from .work.expanding import Expanding
from .work.finisher import Finisher
from .work.queue import JobQueue, Waiting
from .work.room import Room
from .work.worker import Worker

_CLOSING_S = 3.0  # for what the engine still does in the background
log = structlog.get_logger()


class JobService:
    """Jobs of one process with one worker.

    Where the store has leases, other servers share it. One that `accepts_only` has no worker: what it accepts it gives
    to `hand_over`, for another server to take.
    """

    def __init__(
        self,
        engine: Engine,
        store: JobStore,
        results: ResultStore,
        lock: StoreLock,
        *,
        max_queue: int = 64,
        max_rows: int = 8,
        joins: bool = True,
        live: LiveJobs | None = None,
        ttl_s: float = 86400.0,
        max_bytes: int | None = None,
        on_event: Sequence[Callable[[LiveJob, Event], None]] = (),
        webhooks: Deliverer | None = None,
        prompting: Prompting | None = None,
        pace: Pace | None = None,
        accepts_only: bool = False,
    ) -> None:
        self.store = store
        self.results = results
        self.accepts_only = accepts_only
        self.hand_over: Callable[[JobRow, Hashable], None] = lambda *_: None
        self.engines_problem: Callable[[], str | None] = lambda: None
        self.live_jobs = LiveJobs() if live is None else live
        self.queue = JobQueue()
        self.estimates = Estimates()
        self.finisher = Finisher(store, results)
        self.worker = Worker(
            engine,
            self.queue,
            store,
            self.finisher,
            estimates=self.estimates,
            max_rows=max_rows,
            joins=joins,
        )
        events_ttl_s = self.live_jobs.ttl_s
        self.sweeper = Sweeper(store, results, ttl_s=ttl_s, max_bytes=max_bytes, events_ttl_s=events_ttl_s)
        self.is_draining = False
        self._prompting = prompting
        self._expanding = Expanding(prompting, self.finisher, self._go_on)
        self._engine = engine
        self._webhooks = webhooks
        self._room = Room(self.queue, store, most=max_queue, counts_all=accepts_only)
        self._sharing: Sharing | None = None
        if store.leases is not None:
            assert pace is not None
            taker = None if accepts_only else self
            self._sharing = Sharing(
                store, self.live_jobs, pace, taker=taker, room=lambda: min(self._room.free(), 2 * max_rows)
            )
            on_event = (*on_event, self._sharing.teller.on_event)
        self._on_event = on_event
        self._probe = Probe(store, results, lock)
        self._lock = lock

    def start(self) -> None:
        """Take up what an earlier process left, and begin to work."""
        leases = self.store.leases
        left = self.store.put_back(now=time.time()) if leases is None else leases.claim_own()
        for row in left.result():
            self.take_row(row)
        self.sweeper.sweep_orphans()  # before any is accepted, whose files come before its row
        self.sweeper.start()
        if not self.accepts_only:
            self.worker.start()
        if self._sharing is not None:
            self._sharing.start()
        if self._webhooks is not None:
            self._webhooks.start()

    def take_row(self, row: JobRow) -> None:
        """Let a job wait that is this server's by now."""
        job = self._add(row)
        job.tell("status", status=QUEUED)
        try:
            self._enqueue(job, self._tasks_of(job))
        except Exception as error:  # noqa: BLE001 - it is this job's: a model that is there no more
            self.finisher.fail(job, error)

    def drop(self, job: LiveJob, row: JobRow | None) -> None:
        """Run a job no more: it has ended as the row says, or is another server's."""
        self.queue.remove(job.row.id)
        if row is not None and row.is_done:
            made = {"result": row.result, "error": row.error}
            job.tell("status", status=row.status, **{name: value for name, value in made.items() if value})
            job.cancel_asked.set()
        else:
            job.lose()
            self.live_jobs.remove(job.row.id)

    async def take(self, job_id: str) -> bool:
        """Have a job that nobody has; whether this server has it.

        Raises:
            sqlalchemy.exc.OperationalError: if the database cannot be reached.
        """
        live = self.live_jobs.get(job_id)
        if live is not None and live.ended_at is None:
            return True
        assert self.store.leases is not None
        if self.is_draining:
            return False
        for row in await asyncio.wrap_future(self.store.leases.claim(job_id)):
            await asyncio.to_thread(self.take_row, row)
            return True
        return False

    async def ended(self, job_id: str) -> None:
        """Until a job that was taken has ended, and other servers are told; or it is not this server's any more."""
        live = self.live_jobs.get(job_id)
        if live is not None and self._sharing is not None:
            await live.end()
            await asyncio.to_thread(self._sharing.teller.write)

    def heard(self) -> None:
        """A job has ended that was handed over."""
        if self._sharing is not None:
            self._sharing.hurry()

    def drain(self, timeout_s: float) -> bool:
        """Accept nothing more, end what runs, and leave what waits to the next start; whether all ended in time."""
        self.is_draining = True
        self.sweeper.stop()
        waiting = self.queue.close()
        if self._sharing is not None:
            self._sharing.stop_taking()
            self._give_back(waiting)
        if self._prompting is not None:
            self._prompting.close()
        is_done = self.accepts_only or self.worker.stop(timeout_s)
        if not is_done:
            running = [running.job for running in self.worker.running]
            if self._sharing is None:
                self.store.requeue([job.row.id for job in running]).exception()
            else:
                self._give_back(running)
        self.finisher.close()
        self._engine.close(_CLOSING_S)
        if self._sharing is not None:
            self._sharing.stop()
        if self._webhooks is not None:
            self._webhooks.stop()
        self._lock.close()
        self.store.close()
        return is_done

    def _give_back(self, jobs: Sequence[LiveJob]) -> None:
        """Let other servers have jobs at once; if that cannot be noted, their leases run out."""
        assert self.store.leases is not None
        self.store.leases.release([job.row for job in jobs]).exception()
        for job in jobs:
            job.lose()

    def _tasks_of(self, job: LiveJob) -> list[Task]:
        """The rows of a job.

        Raises:
            skipstep.errors.SkipstepError: if they cannot be made.
        """
        row = job.row
        pictures = {name: self.results.read_all(row.id, name) for name in row.request.get("files", ())}
        return self._engine.tasks(row.kind, drawn(row.request), pictures)

    def check_room(self) -> None:
        """Refuse a job before work is put into it.

        Raises:
            DrainingError, BusyError: with the time after which to try again.
        """
        if self.is_draining:
            raise DrainingError("the server is ending; try again in a moment", retry_after_s=10)
        if (waiting := self._room.waiting()) >= self._room.most:
            raise BusyError(
                f"{waiting} jobs wait, at most {self._room.most} may; try again later",
                retry_after_s=max(1, math.ceil(self.wait_s() / max(len(self.queue), 1))),
            )

    async def accept(self, row: JobRow, tasks: Sequence[Task], files: dict[str, bytes]) -> tuple[JobRow, bool]:
        """Keep a job and let it wait; or the one that came with the same Idempotency-Key before, and True.

        `files` are kept beside its results. When this returns, the job is on disk.

        Raises:
            KeyReusedError, BusyError, DrainingError.
            NoSpaceError, StoreDownError: if it cannot be kept.
        """
        self.check_room()
        try:
            for name, data in files.items():
                await asyncio.to_thread(self.results.put, row.id, name, data)
            kept, is_known = await asyncio.wrap_future(self.store.accept(row))
        except (OSError, *STORE_DOWN) as error:
            await asyncio.to_thread(self._forget_files, row.id)
            raise self._probe.note(error) from error
        except BaseException:
            await asyncio.to_thread(self._forget_files, row.id)
            raise
        if is_known:
            await asyncio.to_thread(self._forget_files, row.id)
            if kept.status != QUEUED or self._is_anybodys(kept):
                return self.current(kept), True
            # it was committed, which the database could not tell before it went away: nobody has it yet
            for name, data in files.items():
                await asyncio.to_thread(self.results.put, kept.id, name, data)
            if self._is_anybodys(kept):
                return self.current(kept), True
        if self.accepts_only:
            self.hand_over(kept, tasks[0].key)
            return kept, is_known
        job = self._add(kept)
        job.tell("status", status=QUEUED)
        self._enqueue(job, tasks)
        return kept, is_known

    def _is_anybodys(self, row: JobRow) -> bool:
        """Whether this server has a waiting job, or another."""
        if self.live_jobs.get(row.id) is not None:
            return True
        leases = self.store.leases
        return leases is not None and row.leased_by is not None and row.leased_by != leases.holder.server

    def current(self, row: JobRow) -> JobRow:
        """The row with what this process knows better than the database."""
        job = self.live_jobs.get(row.id)
        if job is not None and not row.is_done and job.cancel_asked.is_set() and row.status != QUEUED:
            return replace(row, status=CANCELING)
        return row

    def get(self, job_id: str, *, owner: str) -> JobRow:
        """A job.

        Raises:
            NotFoundError: if there is none, or it is another's.
        """
        row = self.store.get(job_id) if is_job_id(job_id) else None
        if row is None or row.owner != owner:
            raise NotFoundError("there is no such job")
        return self.current(row)

    def live(self, row: JobRow) -> LiveJob | None:
        """The job's events, if this process still has them, or another server the job."""
        live = self.live_jobs.get(row.id)
        if live is not None and not live.is_lost:
            return live
        is_new = row.finished_at is None or time.time() - row.finished_at < self.live_jobs.ttl_s
        return self._sharing.mirror(row) if self._sharing is not None and is_new else None

    def cancel(self, job_id: str, *, owner: str) -> JobRow:
        """Have a job end: at once if it waits, at its next pass if it runs. One that has ended stays as it is.

        Raises:
            NotFoundError: as `get`.
        """
        row = self.get(job_id, owner=owner)
        job = self.live_jobs.get(job_id)
        if row.is_done or (job is None and self._sharing is None):
            return row
        if job is not None:
            job.cancel_asked.set()
        waits = self.queue.remove(job_id) is not None
        changed = self.store.cancel(job_id, now=time.time()).result()
        if job is not None and waits and changed is not None:
            job.tell("status", status=CANCELED)
        return self.current(changed or row)

    def delete(self, job_id: str, *, owner: str) -> None:
        """Forget a job that has ended, and its files.

        Raises:
            NotFoundError: as `get`.
            ConflictError: if it has not ended.
        """
        row = self.get(job_id, owner=owner)
        if not row.is_done:
            raise ConflictError(f"the job is {row.status}; cancel it first")
        self.store.delete([job_id]).result()
        self.results.delete(job_id)
        self.live_jobs.remove(job_id)

    def place(self, job_id: str) -> tuple[int, float] | None:
        """How many jobs go before a waiting one, and about how many seconds until it is done."""
        waiting = self.queue.up_to(job_id)
        return (len(waiting) - 1, self._seconds(waiting)) if waiting else None

    def wait_s(self) -> float:
        """About how long all that waits will take."""
        return self._seconds(self.queue.in_order())

    def _seconds(self, waiting: Sequence[Waiting]) -> float:
        return round(self.estimates.seconds(task for one in waiting for task in one.tasks), 3)

    def problem(self) -> str | None:
        """What keeps the service from taking jobs; None if nothing does."""
        if self.is_draining:
            return "draining"
        if self.accepts_only:
            return self._probe.problem() or self.engines_problem()
        if self.worker.failure is not None or (self.worker.is_ready and not self.worker.is_alive):
            return f"the worker ended: {self.worker.failure}"
        if not self.worker.is_ready:
            return "warming up"
        if self.finisher.blocked_by is not None:
            return f"results cannot be written: {self.finisher.blocked_by}"
        return self._probe.problem()

    def _add(self, row: JobRow) -> LiveJob:
        job = LiveJob(row, self._on_event)
        self.live_jobs.add(job)
        return job

    def _enqueue(self, job: LiveJob, tasks: Sequence[Task]) -> None:
        is_held = is_awaited(job.row.request)
        self.queue.put(Waiting(job=job, tasks=tasks, is_held=is_held))
        if is_held:
            self._expanding.begin(job)

    def _go_on(self, job: LiveJob) -> None:
        """Its prompt is expanded."""
        self.queue.release(job.row.id, self._tasks_of(job))

    def _forget_files(self, job_id: str) -> None:
        try:
            self.results.delete(job_id)
        except OSError as error:
            log.warning("files of a refused job were left", job=job_id, error=str(error))
