"""/v1/jobs: accept, look at, cancel and delete."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response

from skipstep.errors import SkipstepError

from ..answers import JobAnswer, JobList, Status, job_answer
from ..errors import InvalidRequestError
from ..jobs.accepting import new_row
from ..jobs.bodies import ImageJob, Job, VideoJob
from ..keys import Owner
from ..service import JobService

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[str, Path(max_length=64, description="As the job was answered with.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1, max_length=255, description="A second request with the same key is answered with the first's job."
    ),
]


def service_of(request: Request) -> JobService:
    """The service of the app."""
    service: JobService = request.app.state.service
    return service


async def accept(
    request: Request, body: ImageJob | VideoJob, *, owner: str, idempotency_key: str | None
) -> tuple[Any, bool]:
    """Keep a job; its row, and whether it is one that was accepted before.

    Raises:
        ApiError: if it is not accepted.
    """
    service, catalog = service_of(request), request.app.state.catalog
    service.check_room()
    try:
        model = catalog.check(body)
        row, files = await asyncio.to_thread(
            new_row,
            body,
            owner=owner,
            model=model,
            timeout_s=request.app.state.settings.timeout_s,
            idempotency_key=idempotency_key,
        )
        tasks = await asyncio.to_thread(request.app.state.engine.tasks, row.kind, row.request, files)
    except SkipstepError as error:
        raise InvalidRequestError(str(error)) from error
    return await service.accept(row, tasks, files)


@router.post("", status_code=202, response_model=JobAnswer)
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
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JobList:
    """Your jobs, the newest first."""
    service = service_of(request)
    rows = service.store.page(owner=owner, status=status, after=after, limit=limit + 1)
    jobs = [job_answer(service.current(row), service) for row in rows[:limit]]
    return JobList(jobs=jobs, next=jobs[-1].id if len(rows) > limit else None)


@router.get("/{job_id}", response_model=JobAnswer)
def get_job(request: Request, job_id: JobId, owner: Owner) -> JobAnswer:
    """A job."""
    service = service_of(request)
    return job_answer(service.get(job_id, owner=owner), service)


@router.post("/{job_id}/cancel", response_model=JobAnswer)
def cancel_job(request: Request, job_id: JobId, owner: Owner) -> JobAnswer:
    """Have a job end: at once if it waits, at its next pass if it runs. One that has ended stays as it is."""
    service = service_of(request)
    return job_answer(service.cancel(job_id, owner=owner), service)


@router.delete("/{job_id}", status_code=204)
def delete_job(request: Request, job_id: JobId, owner: Owner) -> None:
    """Delete a job that has ended, and its files."""
    service_of(request).delete(job_id, owner=owner)
