"""Jobs as rows: accepted once, found again after a crash, and ended once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..errors import KeyReusedError
from ..jobs.states import CANCELED, CANCELING, FAILED, MAX_ATTEMPTS, QUEUED, RUNNING, TERMINAL
from .deliveries import Deliveries, expect, fall_due
from .statements import ACCEPT, BEGIN, FALL_DUE, FINISH, GET
from .tables import jobs
from .writer import Writer


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as the database has it; times are seconds since 1970."""

    id: str
    owner: str
    kind: str
    status: str
    priority: int
    request: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    attempts: int
    idempotency_key: str | None
    request_sha256: str
    created_at: float
    deadline_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def is_done(self) -> bool:
        """Whether it is in a state that it does not leave."""
        return self.status in TERMINAL


class JobStore:
    """Reads and writes job rows; may be used from all threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._writer = Writer(engine)
        self.deliveries = Deliveries(engine, self._writer)

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
                same = sa.and_(jobs.c.owner == row.owner, jobs.c.idempotency_key == row.idempotency_key)
                known = connection.execute(sa.select(jobs).where(same)).mappings().first()
                if known is not None:
                    if known["request_sha256"] != row.request_sha256:
                        raise KeyReusedError(
                            "this Idempotency-Key came with another request before; use a new key for a new request",
                            details={"job_id": known["id"]},
                        )
                    return _row(known), True
            connection.execute(ACCEPT, _plain(row))
            expect(connection, row.id, row.request)
            return row, False

        return self._writer.submit(change)

    def begin(self, ids: Sequence[str], *, now: float) -> Future[None]:
        """Note that jobs run, for one more attempt; not those that were canceled meanwhile."""
        return self._write((BEGIN, [{"job": one, "now": now} for one in ids]))

    def keep_request(self, job_id: str, request: dict[str, Any]) -> Future[None]:
        """Keep what a job that waits has become; one that does not is left as it is."""
        waiting = sa.and_(jobs.c.id == job_id, jobs.c.status == QUEUED)
        return self._write((jobs.update().where(waiting).values(request=_json(request)), {}))

    def cancel(self, job_id: str, *, now: float) -> Future[JobRow | None]:
        """Note that a job is not wanted any more: at once if it waits, else it is about to end."""

        def change(connection: sa.Connection) -> JobRow | None:
            waiting = sa.and_(jobs.c.id == job_id, jobs.c.status == QUEUED)
            connection.execute(jobs.update().where(waiting).values(status=CANCELED, finished_at=now))
            running = sa.and_(jobs.c.id == job_id, jobs.c.status == RUNNING)
            connection.execute(jobs.update().where(running).values(status=CANCELING))
            connection.execute(FALL_DUE, {"job": job_id, "now": now})
            found = connection.execute(GET, {"job": job_id}).mappings().first()
            return None if found is None else _row(found)

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
    ) -> Future[None]:
        """Note how a job ended, and if `is_told` have its webhook delivered; one that has ended stays as it is."""
        which = {"job": job_id, "now": now}
        end = {"end": status, "made": _json(result), "problem": _json(error)}
        due = [(FALL_DUE, which)] if is_told else []
        return self._write((FINISH, {**which, **end}), *due)

    def put_back(self, *, now: float) -> Future[list[JobRow]]:
        """After a crash: what ran waits again, or has failed the third time; what was canceled is. All that wait."""

        def change(connection: sa.Connection) -> list[JobRow]:
            gone = {"code": "worker_crashed", "message": f"the server ended {MAX_ATTEMPTS} times while this job ran"}
            failed = sa.and_(jobs.c.status == RUNNING, jobs.c.attempts >= MAX_ATTEMPTS)
            connection.execute(jobs.update().where(failed).values(status=FAILED, finished_at=now, error=_json(gone)))
            connection.execute(jobs.update().where(jobs.c.status == RUNNING).values(status=QUEUED))
            canceling = jobs.c.status == CANCELING
            connection.execute(jobs.update().where(canceling).values(status=CANCELED, finished_at=now))
            connection.execute(fall_due(sa.true(), now=now))
            waiting = sa.select(jobs).where(jobs.c.status == QUEUED).order_by(jobs.c.created_at, jobs.c.id)
            return [_row(found) for found in connection.execute(waiting).mappings()]

        return self._writer.submit(change)

    def requeue(self, ids: Sequence[str]) -> Future[None]:
        """When the server ends: jobs that it could not finish wait for the next, without counting as an attempt."""
        running = jobs.update().where(jobs.c.id.in_(ids), jobs.c.status == RUNNING)
        return self._write((running.values(status=QUEUED, attempts=jobs.c.attempts - 1), {}))

    def delete(self, ids: Sequence[str]) -> Future[None]:
        """Forget jobs that have ended, and their deliveries."""
        return self._write((jobs.delete().where(jobs.c.id.in_(ids), jobs.c.status.in_(TERMINAL)), {}))

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
            return [_row(found) for found in connection.execute(asked, parameters).mappings()]


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, allow_nan=False)


def _plain(row: JobRow) -> dict[str, Any]:
    return {**vars(row), **{name: _json(getattr(row, name)) for name in ("request", "result", "error")}}


def _row(found: Any) -> JobRow:
    decode: Callable[[str | None], Any] = lambda text: None if text is None else json.loads(text)  # noqa: E731
    read = {name: decode(found[name]) for name in ("request", "result", "error")}
    return JobRow(**{**found, **read})
