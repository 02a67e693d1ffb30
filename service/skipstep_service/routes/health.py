"""/healthz and /readyz: whether the process lives, and whether it takes jobs."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from ..keys import needs
from .jobs import service_of

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "It takes no jobs now, and says why."}})
async def ready(request: Request) -> JSONResponse:
    """The models are loaded, the store can be written, and the worker works."""
    problem = await asyncio.to_thread(service_of(request).problem)
    if problem is None:
        return JSONResponse({"status": "ready"})
    return JSONResponse({"status": "not ready", "reason": problem}, status_code=503)


@router.get("/metrics", response_class=Response, dependencies=[Depends(needs("metrics"))])
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(request.app.state.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")
