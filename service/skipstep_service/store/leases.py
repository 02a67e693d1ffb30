"""Leases: which of several servers has a job, for how long, and whose word counts.

A job is one server's until its lease runs out, by the database's clock. Each claim raises the job's `lease`, a number
that goes with every later write of it (a fencing token; Kleppmann, Designing Data-Intensive Applications, chapter 8):
a server that was away for longer than its lease changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..jobs.states import CANCELED, CANCELING, FAILED, MAX_ATTEMPTS, QUEUED, RUNNING
from .deliveries import fall_due
from .rows import JobRow, crashed, json_of, row_of
from .tables import jobs
from .writer import Writer

CLOCK = sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Double)
"""Seconds since 1970 by PostgreSQL's clock, so that those of servers need not agree."""

_UNDER_WAY = (QUEUED, RUNNING, CANCELING)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A server that shares its store with others.

    What it accepts is its own for `lease_s`, or with `hands_over` nobody's; others may take that after `grace_s`.
    """

    server: str
    lease_s: float
    max_attempts: int = MAX_ATTEMPTS
    hands_over: bool = False
    grace_s: float = 10.0

    def first(self) -> dict[str, Any]:
        """The values of a new row."""
        if self.hands_over:
            return {"leased_by": None, "leased_until": CLOCK + self.grace_s, "lease": 0}
        return {"leased_by": self.server, "leased_until": CLOCK + self.lease_s, "lease": 1}


class Leases:
    """Claims, renews and gives back, for one server."""

    def __init__(self, engine: sa.Engine, writer: Writer, holder: Holder) -> None:
        self.holder = holder
        self._engine = engine
        self._writer = writer
        self._own = sa.and_(jobs.c.leased_by == holder.server, jobs.c.status.in_(_UNDER_WAY))

    def claim(self, job_id: str) -> Future[list[JobRow]]:
        """Have a job that nobody has; none if somebody has, or it has ended."""
        is_free = sa.or_(jobs.c.leased_by.is_(None), jobs.c.leased_until < CLOCK)
        return self._claim(sa.and_(jobs.c.id == job_id, is_free), limit=1)

    def claim_free(self, limit: int) -> Future[list[JobRow]]:
        """Have jobs whose leases have run out, or that were handed over and not taken; the most urgent first."""
        return self._claim(sa.or_(jobs.c.leased_until.is_(None), jobs.c.leased_until < CLOCK), limit=limit)

    def claim_own(self) -> Future[list[JobRow]]:
        """Have again what a server of the same name had before it ended."""
        return self._claim(self._own, limit=None)

    def renew(self) -> Future[None]:
        """The heartbeat: all that this server has is its own for as long again."""
        renewed = jobs.update().where(self._own).values(leased_until=CLOCK + self.holder.lease_s)
        return self._writer.submit(lambda connection: _nothing(connection.execute(renewed)))

    def release(self, rows: Sequence[JobRow]) -> Future[None]:
        """Let others have jobs at once; what ran is put back, without counting as an attempt."""

        def change(connection: sa.Connection) -> None:
            for row in rows:
                own = sa.and_(jobs.c.id == row.id, jobs.c.lease == row.lease)
                ran = sa.and_(own, jobs.c.status == RUNNING)
                connection.execute(jobs.update().where(ran).values(status=QUEUED, attempts=jobs.c.attempts - 1))
                connection.execute(jobs.update().where(own).values(leased_by=None, leased_until=None))

        return self._writer.submit(change)

    def held(self) -> dict[str, tuple[int, str]]:
        """The lease and the status of each job that this server has, by the database's word."""
        asked = sa.select(jobs.c.id, jobs.c.lease, jobs.c.status).where(self._own)
        with self._engine.connect() as connection:
            return {found.id: (found.lease, found.status) for found in connection.execute(asked)}

    def waiting(self) -> int:
        """Jobs of all servers that wait."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).where(jobs.c.status == QUEUED)) or 0

    def _claim(self, which: sa.ColumnElement[bool], *, limit: int | None) -> Future[list[JobRow]]:
        free = (
            sa.select(jobs)
            .where(which, jobs.c.status.in_(_UNDER_WAY))
            .order_by(jobs.c.priority, jobs.c.created_at, jobs.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )

        def change(connection: sa.Connection) -> list[JobRow]:
            found = [row_of(one) for one in connection.execute(free).mappings().all()]
            taken = [row for row in found if not self._end(connection, row)]
            return [self._take(connection, row) for row in taken]

        return self._writer.submit(change)

    def _end(self, connection: sa.Connection, row: JobRow) -> bool:
        """End a job that is not to run again, as whoever had it would have; whether it was."""
        most, error = self.holder.max_attempts, None
        if row.status == CANCELING:
            status = CANCELED
        elif row.status == RUNNING and row.attempts >= most:
            status = FAILED
            error = json_of(crashed(most))
        else:
            return False
        ended = jobs.update().where(jobs.c.id == row.id)
        connection.execute(ended.values(status=status, finished_at=CLOCK, error=error, lease=jobs.c.lease + 1))
        connection.execute(fall_due(jobs.c.id == row.id, now=CLOCK))
        return True

    def _take(self, connection: sa.Connection, row: JobRow) -> JobRow:
        until = CLOCK + self.holder.lease_s
        values = {"status": QUEUED, "leased_by": self.holder.server, "leased_until": until, "lease": row.lease + 1}
        taken = jobs.update().where(jobs.c.id == row.id).values(values).returning(jobs)
        return row_of(connection.execute(taken).mappings().one())


def _nothing(_: Any) -> None:
    """A write that gives nothing."""
