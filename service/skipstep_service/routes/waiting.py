"""Waiting for a job within the request that asked for it; a client that leaves ends its job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from ..errors import ClientLeftError, JobEndedError
from ..jobs.bodies import ImageJob, VideoJob
from ..jobs.events import Event
from ..jobs.live import LiveJob
from ..jobs.states import CANCELED, EXPIRED, SUCCEEDED
from ..service import JobService
from ..store.job_store import JobRow
from .jobs import accept, service_of
from .leaving import left


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """A job that a request waits for. One that an earlier request began is not its own: others may wait for it."""

    service: JobService
    row: JobRow
    live: LiveJob | None  # None if the job has ended, and its events are gone
    is_own: bool

    @property
    def expansion(self) -> dict[str, Any] | None:
        """How the prompt was expanded, if it was, once it is."""
        row = self.row if self.live is None else self.live.row
        found: dict[str, Any] | None = row.request.get("expansion")
        return found

    def leave(self) -> None:
        """Have the job end at its next pass, if it is this request's own and has not ended. Does not block."""
        if self.is_own and self.live is not None and self.live.ended_at is None:
            self.live.cancel_asked.set()

    async def events(self) -> AsyncIterator[Event]:
        """Events of the job up to its end, wherever it runs.

        Raises:
            JobEndedError: if it was deleted meanwhile.
        """
        live, last, row = self.live, None, self.row
        while live is not None:
            async for event in live.follow(last):
                yield event
                if event.is_last:
                    return
                last = event.attempt, event.number
            found = await asyncio.to_thread(self.service.store.get, row.id)
            if found is None:
                raise JobEndedError("the job was deleted", code=CANCELED, status=409)
            row = found
            live = None if row.is_done else self.service.live(row)  # another server has it by now
        yield _end_of(row)

    async def end(self) -> Event:
        """The last of them.

        Raises:
            JobEndedError: if it was deleted meanwhile.
        """
        end = None if self.live is None else await self.live.end()
        return end or [event async for event in self.events()][-1]


async def accept_awaited(
    request: Request, body: ImageJob | VideoJob, *, owner: str, idempotency_key: str | None
) -> Awaited:
    """Keep a job, to wait for it.

    Raises:
        ApiError: if it is not accepted.
    """
    row, is_known = await accept(request, body, owner=owner, idempotency_key=idempotency_key)
    service = service_of(request)
    return Awaited(service=service, row=row, live=service.live(row), is_own=not is_known)


async def result_of(request: Request, awaited: Awaited) -> dict[str, Any]:
    """What the job made.

    Raises:
        JobEndedError: if it made nothing.
        ClientLeftError: if the client left, which ends the job.
    """
    ended = asyncio.ensure_future(awaited.end())
    gone = asyncio.ensure_future(left(request))
    try:
        await asyncio.wait((ended, gone), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            raise ClientLeftError("the client left")
        return made_by(ended.result())
    finally:
        awaited.leave()
        ended.cancel()
        gone.cancel()


async def events_of(awaited: Awaited, *, pause_s: float) -> AsyncIterator[Event | None]:
    """Events of the job up to its end, and None whenever so many seconds brought none."""
    events = awaited.events()
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            await asyncio.wait((coming,), timeout=pause_s)
            if not coming.done():
                yield None
                continue
            event = coming.result()
            if event is None:
                return
            yield event
            coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()


def made_by(end: Event) -> dict[str, Any]:
    """The result that a job's last event tells.

    Raises:
        JobEndedError: if there is none.
    """
    status, error = end.data["status"], end.data.get("error") or {}
    if status == SUCCEEDED:
        result: dict[str, Any] = end.data["result"]
        return result
    if status == CANCELED:
        raise JobEndedError("the job was canceled", code=CANCELED, status=409)
    number = 504 if status == EXPIRED else 422 if error.get("code") == "cannot_run" else 500
    raise JobEndedError(error.get("message", f"the job is {status}"), code=error.get("code", status), status=number)


def _end_of(row: JobRow) -> Event:
    data = {"status": row.status, "result": row.result, "error": row.error}
    return Event(attempt=row.attempts, number=0, kind="status", data=data)
