"""What is posted to a job's webhook, and how the schema of the API tells of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel, Field

from ..answers import JobAnswer, answer_of
from ..store.job_store import JobRow

router = APIRouter(tags=["webhooks"])


class WebhookEvent(BaseModel):
    """The end of a job."""

    type: Literal["job.succeeded", "job.failed", "job.expired", "job.canceled"]
    timestamp: datetime = Field(description="When the job ended.")
    data: JobAnswer = Field(description="The job, as GET /v1/jobs/{id} answers.")


def event_of(row: JobRow) -> WebhookEvent:
    """The event of a job that has ended; the same whenever it is asked for."""
    job = answer_of(row)
    return WebhookEvent.model_validate({"type": f"job.{row.status}", "timestamp": job.finished_at, "data": job})


def message_id(row: JobRow) -> str:
    """By which receivers know an event that they have had: the same at each try."""
    return f"{row.id}_{row.status}"


@router.post("job-ended", status_code=204)
def job_ended(
    body: WebhookEvent,
    webhook_id: Annotated[str, Header(description="The same at each try: leave out what you have had.")],
    webhook_timestamp: Annotated[int, Header(description="Of the try, in seconds since 1970.")],
    webhook_signature: Annotated[str, Header(description="v1, and HMAC-SHA256 in base64: see standardwebhooks.com.")],
) -> None:
    """Sent to a job's webhook when the job ends; answer with any 2xx, or with 410 to have no more tries."""
