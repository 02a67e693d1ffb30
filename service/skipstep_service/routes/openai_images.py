"""POST /v1/images/generations: OpenAI's images API on top of the jobs."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from ..jobs.bodies import ImageJob
from ..keys import Owner
from .adapting import model_of
from .jobs import IdempotencyKey, service_of
from .openai_bodies import ImageGeneration, image_job
from .openai_shape import OpenAIError, OpenAIRoute
from .openai_streams import NO_TOKENS, PictureStream, revised
from .waiting import Awaited, accept_awaited, result_of

router = APIRouter(
    prefix="/v1/images",
    tags=["openai"],
    route_class=OpenAIRoute,
    responses={"4XX": {"model": OpenAIError}, "5XX": {"model": OpenAIError}},
)


@router.post(
    "/generations",
    response_class=JSONResponse,
    responses={200: {"content": {"application/json": {}, "text/event-stream": {}}}},
)
async def generate_images(
    request: Request,
    body: Annotated[ImageGeneration, Body()],
    owner: Owner,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Pictures from a prompt, answered when they are done, or with `stream` as they come. A client that leaves
    before cancels its job."""
    job = image_job(body, model=model_of(request, "image", body.model))
    awaited = await accept_awaited(request, job, owner=owner, idempotency_key=idempotency_key)
    if body.stream:
        return PictureStream(service_of(request), awaited, partials=body.partials, quality=body.quality or "auto")
    made = await result_of(request, awaited)
    return JSONResponse(await _answer(request, awaited, made, job=job, as_urls=body.response_format == "url"))


async def _answer(
    request: Request, awaited: Awaited, made: dict[str, Any], *, job: ImageJob, as_urls: bool
) -> dict[str, Any]:
    row, service = awaited.row, service_of(request)
    pictures: list[dict[str, Any]] = []
    for output, report in zip(made["outputs"], made["images"], strict=True):
        picture: dict[str, Any] = {"seed": report["seed"], **revised(awaited)}
        if as_urls:
            base = str(request.base_url).rstrip("/")
            picture["url"] = f"{base}/v1/jobs/{row.id}/outputs/{output['name']}"
        else:
            data = await asyncio.to_thread(service.results.read_all, row.id, output["name"])
            picture["b64_json"] = base64.b64encode(data).decode()
        pictures.append(picture)
    first = made["images"][0]
    size = f"{first['width']}x{first['height']}" if "width" in first else None
    return {
        "created": int(row.created_at),
        "data": pictures,
        "background": "opaque",
        "output_format": job.format,
        "size": size,
        "usage": NO_TOKENS,
        "job_id": row.id,
        **({} if awaited.expansion is None else {"expansion": awaited.expansion}),
    }
