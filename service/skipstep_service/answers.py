"""Bodies of answers, as JSON."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import BaseModel, Field

from .jobs.states import QUEUED
from .service import JobService
from .store.job_store import JobRow

Status = Literal["queued", "running", "canceling", "succeeded", "failed", "expired", "canceled"]


class Links(BaseModel):
    """Where more of a job is."""

    self: str
    events: str
    cancel: str


class OutputAnswer(BaseModel):
    """A file that a job made."""

    name: str
    media_type: str
    bytes: int
    url: str


class ErrorAnswer(BaseModel):
    """Why a job, or a request, failed."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class JobAnswer(BaseModel):
    """A job."""

    id: str
    kind: Literal["image", "video"]
    status: Status
    request: dict[str, Any] = Field(description="What was asked for, with the seed that was drawn and the model.")
    outputs: list[OutputAnswer] = Field(default_factory=list)
    report: dict[str, Any] | None = Field(None, description="What really ran: passes, batch, times, likeness.")
    error: ErrorAnswer | None = None
    attempts: int
    position: int | None = Field(None, description="Jobs that go before it, while it waits.")
    eta_s: float | None = Field(None, description="About how long until it is done, while it waits.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime = Field(description="When it is given up.")
    links: Links


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobAnswer]
    next: str | None = Field(None, description="The `after` of the next page; none if there is none.")


def job_answer(row: JobRow, service: JobService) -> JobAnswer:
    """A job as its owner sees it."""
    here = f"/v1/jobs/{row.id}"
    result = row.result or {}
    place = service.place(row.id) if row.status == QUEUED else None
    hidden = ("files", "kind")
    return JobAnswer.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "request": {name: value for name, value in row.request.items() if name not in hidden},
            "outputs": [{**one, "url": f"{here}/outputs/{one['name']}"} for one in result.get("outputs", ())],
            "report": {name: value for name, value in result.items() if name != "outputs"} or None,
            "error": row.error,
            "attempts": row.attempts,
            "position": None if place is None else place[0],
            "eta_s": None if place is None else place[1],
            "created_at": _moment(row.created_at),
            "started_at": _moment(row.started_at),
            "finished_at": _moment(row.finished_at),
            "expires_at": _moment(row.deadline_at),
            "links": {"self": here, "events": f"{here}/events", "cancel": f"{here}/cancel"},
        }
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
