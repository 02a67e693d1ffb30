"""/v1/jobs: accept, look at, cancel and delete."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response

from skipstep.errors import SkipstepError

from ..answers import JobAnswer, JobList, Status, job_answer
from ..engines.protocol import Task
from ..errors import InvalidRequestError
from ..jobs.accepting import new_row
from ..jobs.bodies import ImageJob, Job, VideoJob
from ..jobs.ids import FORM
from ..keys import Owner
from ..service import JobService
from ..store.job_store import JobRow
from ..webhooks.outgoing import check_webhook
from .prompting import check_expand
from .refusals import refusals

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=refusals(401, 403, 422, 503))
JobId = Annotated[str, Path(max_length=64, description="As the job was answered with.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=255, description="A second request with the same key is answered with the first's job."
    ),
]

_ACCEPTED = {
    "Location": {"schema": {"type": "string"}, "description": "Where the job is."},
    "Idempotent-Replayed": {
        "schema": {"type": "string", "const": "true"},
        "description": "The job is one that came with the key before.",
    },
}


def service_of(request: Request) -> JobService:
    """The service of the app."""
    service: JobService = request.app.state.service
    return service


async def accept(
    request: Request, body: ImageJob | VideoJob, *, owner: str, idempotency_key: str | None
) -> tuple[JobRow, bool]:
    """Keep a job; its row, and whether it is one that was accepted before.

    Raises:
        ApiError: if it is not accepted.
    """
    service, catalog = service_of(request), request.app.state.catalog
    if body.webhook is not None:
        check_webhook(body.webhook.url, request.app.state.settings)
    service.check_room()
    engine, timeout_s = request.app.state.engine, request.app.state.settings.timeout_s

    def make() -> tuple[JobRow, dict[str, bytes], list[Task]]:
        model = catalog.check(body)
        if isinstance(body, ImageJob) and body.expand is not None:
            check_expand(request, body.prompt, body.expand)
        row, files = new_row(body, owner=owner, model=model, timeout_s=timeout_s, idempotency_key=idempotency_key)
        return row, files, engine.tasks(row.kind, row.request, files)

    try:
        # only a picture takes long enough for another thread to be worth its while
        row, files, tasks = make() if body.image is None else await asyncio.to_thread(make)
    except SkipstepError as error:
        raise InvalidRequestError(str(error)) from error
    return await service.accept(row, tasks, files)


@router.post(
    "",
    status_code=202,
    response_model=JobAnswer,
    response_description="The job was accepted, now or by an earlier request with the key.",
    responses={202: {"headers": _ACCEPTED}, **refusals(400, 408, 413, 429, 507)},
)
async def create_job(
    request: Request,
    response: Response,
    body: Annotated[Job, Body()],
    owner: Owner,
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer:
    """Accept a job. The answer comes when it is on disk: from then on it will be done, or tell why not."""
    row, is_known = await accept(request, body, owner=owner, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{row.id}"
    if is_known:
        response.headers["Idempotent-Replayed"] = "true"
    return job_answer(row, service_of(request))


@router.get("", response_model=JobList)
def list_jobs(
    request: Request,
    owner: Owner,
    status: Annotated[Status | None, Query(description="Only jobs in this state.")] = None,
    after: Annotated[str | None, Query(pattern=FORM, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs on a page.")] = 20,
) -> JobList:
    """Your jobs, the newest first."""
    service = service_of(request)
    rows = service.store.page(owner=owner, status=status, after=after, limit=limit + 1)
    jobs = [job_answer(service.current(row), service) for row in rows[:limit]]
    return JobList(jobs=jobs, next=jobs[-1].id if len(rows) > limit else None)


@router.get("/{job_id}", response_model=JobAnswer, responses=refusals(404))
def get_job(request: Request, job_id: JobId, owner: Owner) -> JobAnswer:
    """A job."""
    service = service_of(request)
    return job_answer(service.get(job_id, owner=owner), service)


@router.post("/{job_id}/cancel", response_model=JobAnswer, responses=refusals(404))
def cancel_job(request: Request, job_id: JobId, owner: Owner) -> JobAnswer:
    """Have a job end: at once if it waits, at its next pass if it runs. One that has ended stays as it is."""
    service = service_of(request)
    return job_answer(service.cancel(job_id, owner=owner), service)


@router.delete("/{job_id}", status_code=204, responses=refusals(404, 409))
def delete_job(request: Request, job_id: JobId, owner: Owner) -> None:
    """Delete a job that has ended, and its files."""
    service_of(request).delete(job_id, owner=owner)
