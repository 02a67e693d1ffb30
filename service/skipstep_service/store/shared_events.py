"""Events of jobs as rows, for servers that do not have the job; they come a moment later than where it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ..jobs.events import Event
from .tables import events, jobs
from .writer import Writer


class SharedEvents:
    """Reads and writes the rows; may be used from all threads."""

    def __init__(self, engine: sa.Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def add(self, told: Sequence[tuple[str, Event]]) -> Future[None]:
        """Keep events, each with its job."""
        rows = [
            {
                "job_id": job,
                "attempt": event.attempt,
                "number": event.number,
                "kind": event.kind,
                "data": json.dumps(event.data, allow_nan=False),
                "at": event.data["at"],
            }
            for job, event in told
        ]

        def change(connection: sa.Connection) -> None:
            connection.execute(_INSERT, rows)

        return self._writer.submit(change)

    def after(self, job_id: str, last: tuple[int, int] | None) -> list[Event]:
        """Events of a job behind one with this attempt and number; all, without."""
        asked = sa.select(events).where(events.c.job_id == job_id).order_by(events.c.attempt, events.c.number)
        if last is not None:
            asked = asked.where(sa.tuple_(events.c.attempt, events.c.number) > sa.tuple_(*last))
        with self._engine.connect() as connection:
            found = connection.execute(asked).all()
        return [
            Event(attempt=one.attempt, number=one.number, kind=one.kind, data=json.loads(one.data)) for one in found
        ]

    def forget(self, before: float) -> Future[None]:
        """Delete those from before a moment, but for jobs that had not ended by then."""
        goes_on = sa.or_(jobs.c.finished_at.is_(None), jobs.c.finished_at >= before)
        needed = sa.exists().where(jobs.c.id == events.c.job_id, goes_on)
        old = events.delete().where(events.c.at < before, ~needed)

        def change(connection: sa.Connection) -> None:
            connection.execute(old)

        return self._writer.submit(change)


_new = insert(events)
# an attempt that was not counted is told again
_INSERT = _new.on_conflict_do_update(
    index_elements=["job_id", "attempt", "number"], set_={name: _new.excluded[name] for name in ("kind", "data", "at")}
)
