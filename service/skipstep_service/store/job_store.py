"""Jobs as rows: accepted once, found again after a crash, and ended once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from ..errors import KeyReusedError
from ..jobs.states import CANCELED, CANCELING, FAILED, MAX_ATTEMPTS, QUEUED, RUNNING, TERMINAL
from .deliveries import Deliveries, expect, fall_due
from .leases import Holder, Leases
from .rows import JobRow, columns_of, crashed, json_of, row_of
from .shared_events import SharedEvents
from .statements import ACCEPT, BEGIN, FALL_DUE, FINISH, GET, LEASE
from .tables import events, jobs
from .writer import Writer

__all__ = ["JobRow", "JobStore"]
_LEASED = ("leased_by", "leased_until", "lease")
_ONE_OF_A_KEY = sa.text("select pg_advisory_xact_lock(hashtextextended(:text, 0))")


class JobStore:
    """Reads and writes job rows; may be used from all threads.

    With a `holder` other servers use the same database, and `leases` says who has which job. Writes of a job that have
    a `lease` are made if it is still the job's.
    """

    def __init__(self, engine: sa.Engine, holder: Holder | None = None, *, max_attempts: int = MAX_ATTEMPTS) -> None:
        self._engine = engine
        self._max_attempts = max_attempts
        self._writer = Writer(engine)
        self._accepted = ACCEPT if holder is None else jobs.insert().values(holder.first())
        self.leases = None if holder is None else Leases(engine, self._writer, holder)
        self.events = SharedEvents(engine, self._writer)
        self.deliveries = Deliveries(engine, self._writer, shares=holder is not None)

    def close(self) -> None:
        """Finish what was submitted, and end."""
        self._writer.close()
        self._engine.dispose()

    def accept(self, row: JobRow) -> Future[tuple[JobRow, bool]]:
        """Keep a new job; or the one that came with the same Idempotency-Key before, and True.

        Raises (in the future):
            KeyReusedError: if that one was for another request.
            sqlalchemy.exc.OperationalError: if the database cannot keep it, as on a full disk.
        """

        def change(connection: sa.Connection) -> tuple[JobRow, bool]:
            if row.idempotency_key is not None:
                if self.leases is not None:  # or two servers would both find that there is none
                    connection.execute(_ONE_OF_A_KEY, {"text": f"{row.owner}:{row.idempotency_key}"})
                same = sa.and_(jobs.c.owner == row.owner, jobs.c.idempotency_key == row.idempotency_key)
                known = connection.execute(sa.select(jobs).where(same)).mappings().first()
                if known is not None:
                    if known["request_sha256"] != row.request_sha256:
                        raise KeyReusedError(
                            "this Idempotency-Key came with another request before; use a new key for a new request",
                            details={"job_id": known["id"]},
                        )
                    return row_of(known), True
            if self.leases is None:
                connection.execute(self._accepted, columns_of(row))
                expect(connection, row.id, row.request)
                return row, False
            first = {name: value for name, value in columns_of(row).items() if name not in _LEASED}
            connection.execute(self._accepted, first)
            expect(connection, row.id, row.request)
            return replace(row, lease=0 if self.leases.holder.hands_over else 1), False

        return self._writer.submit(change)

    def begin(self, rows: Sequence[JobRow], *, now: float) -> Future[set[str]]:
        """Note that jobs run, for one more attempt; not those that were canceled meanwhile, or that another has."""

        def change(connection: sa.Connection) -> set[str]:
            asked = [(row.id, {"job": row.id, "held": row.lease, "now": now}) for row in rows]
            return {job for job, which in asked if connection.execute(BEGIN, which).rowcount}

        return self._writer.submit(change)

    def keep_request(self, job_id: str, request: dict[str, Any], *, lease: int | None = None) -> Future[None]:
        """Keep what a job that waits has become; one that does not is left as it is."""
        waiting = sa.and_(jobs.c.id == job_id, jobs.c.status == QUEUED)
        if lease is not None:
            waiting = sa.and_(waiting, jobs.c.lease == lease)
        return self._write((jobs.update().where(waiting).values(request=json_of(request)), {}))

    def cancel(self, job_id: str, *, now: float) -> Future[JobRow | None]:
        """Note that a job is not wanted any more: at once if it waits, else it is about to end."""

        def change(connection: sa.Connection) -> JobRow | None:
            waiting = sa.and_(jobs.c.id == job_id, jobs.c.status == QUEUED)
            connection.execute(jobs.update().where(waiting).values(status=CANCELED, finished_at=now))
            running = sa.and_(jobs.c.id == job_id, jobs.c.status == RUNNING)
            connection.execute(jobs.update().where(running).values(status=CANCELING))
            connection.execute(FALL_DUE, {"job": job_id, "now": now})
            found = connection.execute(GET, {"job": job_id}).mappings().first()
            return None if found is None else row_of(found)

        return self._writer.submit(change)

    def finish(
        self,
        job_id: str,
        status: str,
        *,
        now: float,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        is_told: bool = True,
        lease: int | None = None,
    ) -> Future[bool]:
        """Note how a job ended, and if `is_told` have its webhook delivered; one that has ended stays as it is.

        False if another server has it by now.
        """
        which = {"job": job_id, "now": now}
        end = {"end": status, "made": json_of(result), "problem": json_of(error), "held": lease}

        def change(connection: sa.Connection) -> bool:
            is_ended = bool(connection.execute(FINISH, {**which, **end}).rowcount)
            if is_told:
                connection.execute(FALL_DUE, which)
            return is_ended or lease is None or connection.scalar(LEASE, {"job": job_id}) == lease

        return self._writer.submit(change)

    def put_back(self, *, now: float) -> Future[list[JobRow]]:
        """After a crash: what ran waits again, or has failed the third time; what was canceled is. All that wait."""

        def change(connection: sa.Connection) -> list[JobRow]:
            most = self._max_attempts
            failed = sa.and_(jobs.c.status == RUNNING, jobs.c.attempts >= most)
            connection.execute(
                jobs.update().where(failed).values(status=FAILED, finished_at=now, error=json_of(crashed(most)))
            )
            connection.execute(jobs.update().where(jobs.c.status == RUNNING).values(status=QUEUED))
            canceling = jobs.c.status == CANCELING
            connection.execute(jobs.update().where(canceling).values(status=CANCELED, finished_at=now))
            connection.execute(fall_due(sa.true(), now=now))
            waiting = sa.select(jobs).where(jobs.c.status == QUEUED).order_by(jobs.c.created_at, jobs.c.id)
            return [row_of(found) for found in connection.execute(waiting).mappings()]

        return self._writer.submit(change)

    def requeue(self, ids: Sequence[str]) -> Future[None]:
        """When the server ends: jobs that it could not finish wait for the next, without counting as an attempt."""
        running = jobs.update().where(jobs.c.id.in_(ids), jobs.c.status == RUNNING)
        return self._write((running.values(status=QUEUED, attempts=jobs.c.attempts - 1), {}))

    def delete(self, ids: Sequence[str]) -> Future[None]:
        """Forget jobs that have ended, their deliveries and their events."""
        ended = jobs.delete().where(jobs.c.id.in_(ids), jobs.c.status.in_(TERMINAL))
        gone = sa.and_(events.c.job_id.in_(ids), ~sa.exists().where(jobs.c.id == events.c.job_id))
        return self._write((ended, {}), (events.delete().where(gone), {}))

    def get(self, job_id: str) -> JobRow | None:
        """A job, if there is one."""
        found = self._read(GET, {"job": job_id})
        return found[0] if found else None

    def page(
        self, *, owner: str, status: str | None, after: str | None, limit: int, kind: str | None = None
    ) -> list[JobRow]:
        """Jobs of an owner, the newest first, that come after one in this order."""
        asked = sa.select(jobs).where(jobs.c.owner == owner).order_by(jobs.c.id.desc()).limit(limit)
        if status is not None:
            asked = asked.where(jobs.c.status == status)
        if kind is not None:
            asked = asked.where(jobs.c.kind == kind)
        if after is not None:
            asked = asked.where(jobs.c.id < after)  # ids are sorted by time
        return self._read(asked)

    def finished_before(self, moment: float, *, limit: int) -> list[JobRow]:
        """Jobs that ended earlier, the oldest first."""
        asked = sa.select(jobs).where(jobs.c.finished_at < moment).order_by(jobs.c.finished_at).limit(limit)
        return self._read(asked)

    def check(self) -> None:
        """Write and take it back, to see that the database can be written to.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: if it cannot.
        """
        self._write((jobs.update().where(jobs.c.id == "").values(owner=""), {})).result()

    def _write(self, *changes: tuple[sa.Executable, Any]) -> Future[None]:
        def change(connection: sa.Connection) -> None:
            for statement, parameters in changes:
                connection.execute(statement, parameters)

        return self._writer.submit(change)

    def _read(self, asked: Any, parameters: dict[str, Any] | None = None) -> list[JobRow]:
        with self._engine.connect() as connection:
            return [row_of(found) for found in connection.execute(asked, parameters).mappings()]
