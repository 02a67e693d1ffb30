"""/healthz and /readyz: whether the process lives, and whether it takes jobs."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

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
