"""Webhooks as rows: made with the job, due from its end on, kept until they are delivered or given up."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..jobs.states import TERMINAL
from .tables import deliveries, jobs
from .writer import Writer

_MAX_ERROR = 500
_TRY_S = 90.0  # more than the longest timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One that is due, and how often it was tried."""

    job_id: str
    url: str
    attempts: int


def expect(connection: sa.Connection, job_id: str, request: dict[str, Any]) -> None:
    """With a new job: note where to tell of its end, if it is asked for."""
    webhook = request.get("webhook")
    if webhook is not None:
        connection.execute(deliveries.insert().values(job_id=job_id, url=webhook["url"], attempts=0))


def fall_due(which: sa.ColumnElement[bool], *, now: float | sa.ColumnElement[float]) -> sa.Update:
    """For the transaction that ends jobs: those of them that have ended are told of from now on, once."""
    ended = sa.select(jobs.c.id).where(which, jobs.c.status.in_(TERMINAL))
    is_new = [
        column.is_(None) for column in (deliveries.c.next_at, deliveries.c.delivered_at, deliveries.c.given_up_at)
    ]
    return deliveries.update().where(deliveries.c.job_id.in_(ended), *is_new).values(next_at=now)


class Deliveries:
    """Reads and writes the rows; may be used from all threads. With `shares`, other servers deliver from them, too."""

    def __init__(self, engine: sa.Engine, writer: Writer, *, shares: bool = False) -> None:
        self._engine = engine
        self._writer = writer
        self._shares = shares

    def due(self, *, now: float, limit: int) -> list[Delivery]:
        """Those to be tried now, the oldest first. Other servers find them no more, for as long as a try may take."""
        row = (deliveries.c.job_id, deliveries.c.url, deliveries.c.attempts)
        asked = sa.select(*row).where(deliveries.c.next_at <= now).order_by(deliveries.c.next_at).limit(limit)
        if not self._shares:
            with self._engine.connect() as connection:
                return [Delivery(**found) for found in connection.execute(asked).mappings()]
        with self._engine.begin() as connection:
            found = connection.execute(asked.with_for_update(skip_locked=True)).mappings().all()
            own = deliveries.c.job_id.in_([one["job_id"] for one in found])
            connection.execute(deliveries.update().where(own).values(next_at=now + _TRY_S))
            return [Delivery(**one) for one in found]

    def delivered(self, job_id: str, *, now: float) -> Future[None]:
        """Note that the receiver has it."""
        return self._tried(job_id, {"next_at": None, "delivered_at": now})

    def put_off(self, job_id: str, *, until: float, error: str) -> Future[None]:
        """Note why a try failed, and when to try again."""
        return self._tried(job_id, {"next_at": until, "last_error": error[:_MAX_ERROR]})

    def give_up(self, job_id: str, *, now: float, error: str) -> Future[None]:
        """Note that it is not tried again."""
        return self._tried(job_id, {"next_at": None, "given_up_at": now, "last_error": error[:_MAX_ERROR]})

    def _tried(self, job_id: str, values: dict[str, Any]) -> Future[None]:
        def change(connection: sa.Connection) -> None:
            which = deliveries.c.job_id == job_id
            connection.execute(deliveries.update().where(which).values(attempts=deliveries.c.attempts + 1, **values))

        return self._writer.submit(change)
