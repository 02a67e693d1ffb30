"""/v1/jobs/{id}/events: what happens to a job, as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from ..jobs.events import parse_event_id
from ..jobs.live import LiveJob
from ..jobs.states import SUCCEEDED
from ..keys import Owner
from ..store.job_store import JobRow
from .jobs import JobId, service_of
from .refusals import refusals_of_stream

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=refusals_of_stream(401, 403, 404, 422, 503))
_EVENTS = (
    "Each event's `data` is a JSON object with its time as `at`. `status` has `status`, and at the end `result` or "
    "`error`; `expansion` has the fields of the job's `expansion`; `progress` has `image`, `evaluation` of "
    "`evaluations` and `pass`; `preview` has `image`, `step` and a JPEG in base64 as `data`; `output` has `name`, "
    "`media_type` and `bytes`."
)
LAST = 999_999_999  # behind every event of an attempt


async def _found(request: Request, job_id: JobId, owner: Owner) -> tuple[JobRow, LiveJob | None]:
    """The job, found before the stream begins: once it has, it is too late for a 404."""
    service = service_of(request)
    row = await asyncio.to_thread(service.get, job_id, owner=owner)
    return row, service.live(row)


@router.get("/{job_id}/events", response_class=EventSourceResponse, response_description=_EVENTS)
async def follow_job(
    found: Annotated[tuple[JobRow, LiveJob | None], Depends(_found)],
    last_event_id: Annotated[str | None, Header(description="The id of the last event that was seen.")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Events of a job up to its end: `status`, `expansion` (of its prompt), `progress` (of a full or a reuse pass),
    `preview` and `output`. Ids are numbered without gaps within an attempt; send the last as `Last-Event-ID` to go on.
    """
    row, live = found
    last = parse_event_id(last_event_id or "")
    if live is None:
        for ended in _of_ended(row, last):
            yield ended
        return
    async for event in live.follow(last):
        yield ServerSentEvent(id=event.id, event=event.kind, data=event.data)


def _of_ended(row: JobRow, last: tuple[int, int] | None) -> list[ServerSentEvent]:
    """What is left to say of a job whose events are gone: its end, unless that was seen."""
    if last is not None and last >= (row.attempts, LAST):
        return []
    data: dict[str, Any] = {"at": row.finished_at, "status": row.status}
    if row.status == SUCCEEDED:
        data["result"] = row.result
    elif row.error is not None:
        data["error"] = row.error
    return [ServerSentEvent(id=f"{row.attempts}-{LAST}", event="status", data=data)]
