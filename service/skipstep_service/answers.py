"""Bodies of answers, as JSON."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import BaseModel, Field

from .jobs.states import QUEUED
from .service import JobService
from .store.job_store import JobRow
from .webhooks.targets import shown

Status = Literal["queued", "running", "canceling", "succeeded", "failed", "expired", "canceled"]


class Links(BaseModel):
    """Where more of a job is."""

    self: str = Field(description="The job.")
    events: str = Field(description="Its events.")
    cancel: str = Field(description="Where to end it.")


class OutputAnswer(BaseModel):
    """A file that a job made."""

    name: str = Field(description="Numbered from 0, as 0.png; with `compare` also 0-baseline.png.")
    media_type: str = Field(description="As image/png.")
    bytes: int = Field(description="How large it is.")
    url: str = Field(description="Where it is, on this server; it needs the key, too.")


class ErrorAnswer(BaseModel):
    """Why a job, or a request, failed."""

    code: str = Field(description="For programs; one word for each kind of error.")
    message: str = Field(description="For people; what is wrong, and what to do.")
    details: dict[str, Any] = Field(default_factory=dict, description="Of a 422: `problems`, or the `param`.")


class ErrorEnvelope(BaseModel):
    """Every answer that is not a success, but for those of the adapters."""

    error: ErrorAnswer


class ExpansionAnswer(BaseModel):
    """A prompt with what a language model added."""

    original: str = Field(description="The prompt as it came.")
    prompt: str = Field(description="The prompt to draw; the original where there is a `reason`.")
    added: str = Field(description="What the model added.")
    negative: str = Field(description="The negative prompt that goes with it; drawn where the request has none.")
    clip_tokens: int | None = Field(description="CLIP's tokens of `prompt`, the two ends counted.")
    seed: int = Field(description="Of the text.")
    engine: str | None = Field(description="gguf, hf, openai or echo.")
    model: str | None = Field(description="The model that was asked.")
    preset: str = Field(description="The preset that it was asked with.")
    seconds: float = Field(description="From the question to the answer.")
    adapters: list[str] = Field(description="As NAME@SCALE.")
    reason: str | None = Field(description="Why nothing was added; none if something was.")
    cached: bool = Field(description="Whether the answer was on disk; always false here.")


class JobAnswer(BaseModel):
    """A job."""

    id: str = Field(description="Sorts by the time when it was accepted.")
    kind: Literal["image", "video"] = Field(description="What it makes.")
    status: Status = Field(description="`succeeded`, `failed`, `expired` and `canceled` are ends.")
    request: dict[str, Any] = Field(description="What was asked for, with the seed that was drawn and the model.")
    expansion: ExpansionAnswer | None = Field(
        None, description="With `expand`, once it is made: the prompt that is drawn, or why it is as it was."
    )
    outputs: list[OutputAnswer] = Field(default_factory=list, description="Its files, once it has succeeded.")
    report: dict[str, Any] | None = Field(
        None,
        description="What really ran: `images` has the seed, passes, batch and times of each picture or clip, "
        "and with `compare` its `comparison`: `psnr_db`, `ssim`, `loop_speedup`.",
    )
    error: ErrorAnswer | None = Field(None, description="Why it has failed.")
    attempts: int = Field(description="How often it was begun; more than one after a crash.")
    position: int | None = Field(None, description="Jobs that go before it, while it waits.")
    eta_s: float | None = Field(None, description="About how long until it is done, while it waits.")
    created_at: datetime = Field(description="When it was accepted.")
    started_at: datetime | None = Field(None, description="When its latest attempt began.")
    finished_at: datetime | None = Field(None, description="When it ended.")
    expires_at: datetime = Field(description="When it is given up.")
    links: Links = Field(description="Where more of it is.")


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobAnswer] = Field(description="One page of them.")
    next: str | None = Field(None, description="The `after` of the next page; none if there is none.")


def job_answer(row: JobRow, service: JobService) -> JobAnswer:
    """A job as its owner sees it."""
    return answer_of(row, service.place(row.id) if row.status == QUEUED else None)


def answer_of(row: JobRow, place: tuple[int, float] | None = None) -> JobAnswer:
    """A job; with how many go before it, and for how long, while it waits."""
    here = f"/v1/jobs/{row.id}"
    result = row.result or {}
    return JobAnswer.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "request": _asked(row.request),
            "expansion": row.request.get("expansion"),
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


def _asked(request: dict[str, Any]) -> dict[str, Any]:
    hidden = ("files", "kind", "webhook", "expansion")
    webhook = request.get("webhook")
    named = {} if webhook is None else {"webhook": {"url": shown(webhook["url"])}}
    return {**{name: value for name, value in request.items() if name not in hidden}, **named}


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
