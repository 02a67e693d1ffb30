"""/healthz and /readyz: whether the process lives, and whether it takes jobs."""

from __future__ import annotations

import asyncio
from typing import Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from ..keys import needs
from .jobs import service_of
from .refusals import refusals

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether jobs are taken."""

    status: Literal["ready", "not ready"]
    reason: str | None = Field(None, description="Why not.")
    prompt_model: Literal["loaded", "not loaded", "hangs"] | None = Field(
        None, description="Of a server that has one; jobs are taken whatever it is."
    )


@router.get("/healthz")
async def live() -> Health:
    """The process answers."""
    return Health()


@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "It takes no jobs now, and says why."}},
)
async def ready(request: Request) -> JSONResponse:
    """The models are loaded, the store can be written, and the worker works."""
    problem = await asyncio.to_thread(service_of(request).problem)
    prompting = request.app.state.prompting
    more = {} if prompting is None else {"prompt_model": prompting.state()}
    if problem is None:
        return JSONResponse({"status": "ready", **more})
    return JSONResponse({"status": "not ready", "reason": problem, **more}, status_code=503)


@router.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(needs("metrics"))],
    responses={200: {"content": {"text/plain": {}}}, **refusals(401, 403)},
)
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(request.app.state.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")
