"""/v1/videos: clips in the shape that OpenAI's API had and vLLM-Omni and SGLang have, on top of the jobs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from ..errors import ConflictError, NotFoundError
from ..jobs.states import CANCELED, CANCELING, EXPIRED, FAILED, QUEUED, RUNNING, SUCCEEDED
from ..keys import Owner
from ..service import JobService
from ..store.job_store import JobRow
from .adapting import model_of
from .jobs import IdempotencyKey, JobId, accept, service_of
from .openai_shape import OpenAIError, OpenAIRoute
from .openai_video_bodies import read_body, request_schema, video_job
from .outputs import get_output
from .progress import progress_of

router = APIRouter(
    prefix="/v1/videos",
    tags=["openai"],
    route_class=OpenAIRoute,
    responses={"4XX": {"model": OpenAIError}, "5XX": {"model": OpenAIError}},
)
_STATUS = {QUEUED: "queued", RUNNING: "in_progress", CANCELING: "in_progress", SUCCEEDED: "completed"}
_ENDS = {EXPIRED: "the video was not done in time", CANCELED: "the video was canceled", FAILED: "the video failed"}
_END_S = 60.0  # that a deletion waits for the job to end
_NOTE = "prompt was not used: the model makes clips from input_reference alone"


@router.post("", openapi_extra={"requestBody": request_schema()})
async def create_video(request: Request, owner: Owner, idempotency_key: IdempotencyKey = None) -> JSONResponse:
    """Begin a clip; follow it at GET /v1/videos/{id}."""
    body = await read_body(request)
    job = video_job(body, model=model_of(request, "video", body.model))
    row, _ = await accept(request, job, owner=owner, idempotency_key=idempotency_key)
    answer = await asyncio.to_thread(video_answer, row, service_of(request))
    return JSONResponse({**answer, "note": _NOTE} if body.prompt else answer)


@router.get("")
def list_videos(
    request: Request,
    owner: Owner,
    after: Annotated[str | None, Query(max_length=64, description="The id of the last of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Clips on a page.")] = 20,
    order: Annotated[Literal["desc"], Query(description="The newest first.")] = "desc",  # noqa: ARG001 - for the check
) -> dict[str, Any]:
    """Your clips."""
    service = service_of(request)
    rows = service.store.page(owner=owner, status=None, after=after, limit=limit + 1, kind="video")
    data = [video_answer(service.current(row), service) for row in rows[:limit]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": len(rows) > limit}


@router.get("/{job_id}")
def get_video(request: Request, job_id: JobId, owner: Owner) -> dict[str, Any]:
    """A clip's state, and how far it is in percent."""
    service = service_of(request)
    return video_answer(_video(service, job_id, owner), service)


@router.get(
    "/{job_id}/content",
    response_class=Response,
    responses={200: {"content": {"video/*": {}}}, 206: {"description": "The range of bytes that was asked for."}},
)
def get_content(
    request: Request,
    job_id: JobId,
    owner: Owner,
    variant: Annotated[Literal["video"], Query(description="There are no others.")] = "video",  # noqa: ARG001
    range: Annotated[str | None, Header(description="One range, as bytes=0-1023.")] = None,  # noqa: A002
) -> Response:
    """The file, or a range of its bytes."""
    row = _video(service_of(request), job_id, owner)
    if row.status != SUCCEEDED or row.result is None:
        raise ConflictError(f"the video is {_STATUS.get(row.status, 'failed')}; there is nothing to fetch")
    return get_output(request, job_id, row.result["outputs"][0]["name"], owner, range)


@router.delete("/{job_id}")
async def delete_video(request: Request, job_id: JobId, owner: Owner) -> dict[str, Any]:
    """Delete a clip and its file; one that waits or runs is ended first."""
    service = service_of(request)
    row = await asyncio.to_thread(_video, service, job_id, owner)
    if not row.is_done:
        await asyncio.to_thread(service.cancel, job_id, owner=owner)
        await _until_ended(service, row)
    await asyncio.to_thread(service.delete, job_id, owner=owner)
    return {"id": job_id, "object": "video.deleted", "deleted": True}


async def _until_ended(service: JobService, row: JobRow) -> None:
    live = service.live(row)
    if live is None:
        return

    async def follow() -> None:
        async for _ in live.follow(None):
            pass

    try:
        await asyncio.wait_for(follow(), _END_S)
    except asyncio.TimeoutError as error:
        raise ConflictError("the video is about to end; delete it again") from error


def _video(service: JobService, job_id: str, owner: str) -> JobRow:
    row = service.get(job_id, owner=owner)
    if row.kind != "video":
        raise NotFoundError("there is no such video")
    return row


def video_answer(row: JobRow, service: JobService) -> dict[str, Any]:
    """A clip as OpenAI's clients read it."""
    asked, live = row.request, service.live(row)
    report = ((row.result or {}).get("images") or [{}])[0]
    width, height = (report.get(name) or asked[name] for name in ("width", "height"))
    status = _STATUS.get(row.status, "failed")
    error = None
    if status == "failed":
        error = {"code": row.status, "message": _ENDS[row.status], **(row.error or {})}
    share = 1.0 if status == "completed" else 0.0 if live is None else min(progress_of(live).share, 0.99)
    return {
        "id": row.id,
        "object": "video",
        "model": asked["model"],
        "status": status,
        "progress": int(share * 100),
        "created_at": int(row.created_at),
        "completed_at": int(row.finished_at) if status == "completed" and row.finished_at else None,
        "expires_at": None,
        "size": f"{width}x{height}" if width and height else None,
        "seconds": f"{asked['frames'] / asked['fps']:g}" if asked["frames"] else None,
        "seed": asked["seed"],
        "error": error,
    }
