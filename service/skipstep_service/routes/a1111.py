"""/sdapi/v1: AUTOMATIC1111's web UI API on top of the jobs, for the clients that speak it. Off unless set."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from ..errors import JobEndedError
from ..jobs.expansion import drawn
from ..jobs.states import CANCELED
from ..keys import needs_either
from .a1111_bodies import ImageToImage, TextToImage, checkpoint_of, image_job
from .a1111_samplers import SAMPLERS
from .a1111_shape import WebUIError, WebUIRoute
from .adapting import model_of
from .jobs import service_of
from .progress import progress_of
from .underway import Underway
from .waiting import Awaited, accept_awaited, result_of

router = APIRouter(
    prefix="/sdapi/v1",
    tags=["a1111"],
    route_class=WebUIRoute,
    responses={"4XX": {"model": WebUIError}, "5XX": {"model": WebUIError}},
)
Owner = Annotated[str, Depends(needs_either("jobs"))]


@router.post("/txt2img")
async def text_to_image(request: Request, body: TextToImage, owner: Owner) -> dict[str, Any]:
    """Pictures from a prompt, answered when they are done."""
    return await _drawn(request, body, owner)


@router.post("/img2img")
async def image_to_image(request: Request, body: ImageToImage, owner: Owner) -> dict[str, Any]:
    """Pictures from a prompt and a picture, answered when they are done."""
    return await _drawn(request, body, owner)


async def _drawn(request: Request, body: TextToImage, owner: str) -> dict[str, Any]:
    job = image_job(body, model=model_of(request, "image", checkpoint_of(body)))
    awaited = await accept_awaited(request, job, owner=owner, idempotency_key=None)
    made: dict[str, Any] = {"outputs": [], "images": []}
    with _underway(request).waiting_for(awaited.live, owner=owner):
        try:
            made = await result_of(request, awaited)
        except JobEndedError as error:
            if error.code != CANCELED:  # interrupted: there is no half of a picture
                raise
    files = [
        await asyncio.to_thread(service_of(request).results.read_all, awaited.row.id, output["name"])
        for output in made["outputs"]
    ]
    parameters = body.model_dump(include=set(type(body).model_fields) - {"init_images"}, exclude_unset=True)
    info = _info(awaited, made, sampler=body.sampler_label)
    return {
        "images": [base64.b64encode(data).decode() for data in files],
        "parameters": parameters,
        "info": json.dumps(info),
    }


def _info(awaited: Awaited, made: dict[str, Any], *, sampler: str) -> dict[str, Any]:
    row = awaited.row if awaited.live is None else awaited.live.row
    asked, reports = drawn(row.request), made["images"]
    seeds = [report["seed"] for report in reports]
    first = reports[0] if reports else {}
    width, height = (first.get(name) or asked[name] for name in ("width", "height"))
    guidance = "" if asked["guidance_scale"] is None else f", CFG scale: {asked['guidance_scale']:g}"
    negative = f"\nNegative prompt: {asked['negative_prompt']}" if asked["negative_prompt"] else ""
    start = f"{asked['prompt']}{negative}\nSteps: {asked['steps']}, Sampler: {sampler}{guidance}"
    return {
        "prompt": asked["prompt"],
        "all_prompts": [asked["prompt"]] * len(seeds),
        "negative_prompt": asked["negative_prompt"],
        "all_negative_prompts": [asked["negative_prompt"]] * len(seeds),
        "seed": asked["seed"],
        "all_seeds": seeds,
        "width": width,
        "height": height,
        "sampler_name": sampler,
        "cfg_scale": asked["guidance_scale"],
        "steps": asked["steps"],
        "batch_size": asked["n"],
        "denoising_strength": asked["strength"],
        "sd_model_name": asked["model"],
        "index_of_first_image": 0,
        "infotexts": [f"{start}, Seed: {seed}, Size: {width}x{height}, Model: {asked['model']}" for seed in seeds],
        "interrupted": not reports,
        "job_id": row.id,
        **({} if awaited.expansion is None else {"expansion": awaited.expansion}),
    }


@router.get("/progress")
async def get_progress(request: Request, owner: Owner, skip_current_image: bool = False) -> dict[str, Any]:
    """How far the oldest of your pictures that requests wait for is."""
    jobs = _underway(request).of(owner)
    state: dict[str, Any] = {"skipped": False, "interrupted": False, "job": "", "job_count": len(jobs)}
    if not jobs:
        steps = {"job_no": 0, "sampling_step": 0, "sampling_steps": 0}
        return {"progress": 0.0, "eta_relative": 0.0, "state": {**state, **steps}, "current_image": None}
    now = progress_of(jobs[0])
    elapsed = 0.0 if now.started_at is None else time.time() - now.started_at
    state |= {
        "interrupted": jobs[0].cancel_asked.is_set(),
        "job": jobs[0].row.id,
        "job_no": 0,
        "sampling_step": now.evaluation,
        "sampling_steps": now.evaluations,
    }
    return {
        "progress": round(now.share, 4),
        "eta_relative": round(elapsed * (1 / now.share - 1), 3) if now.share else 0.0,
        "state": state,
        "current_image": None if skip_current_image else now.preview,
    }


@router.post("/interrupt")
async def interrupt(request: Request, owner: Owner) -> dict[str, Any]:
    """End the picture that GET /progress tells of."""
    for job in _underway(request).of(owner)[:1]:
        await asyncio.to_thread(service_of(request).cancel, job.row.id, owner=owner)
    return {}


@router.get("/samplers")
async def list_samplers(_: Owner) -> list[dict[str, Any]]:
    """Samplers by the web UI's names."""
    return [{"name": label, "aliases": [name], "options": {}} for label, name in SAMPLERS.items()]


@router.get("/sd-models")
async def list_models(request: Request, _: Owner) -> list[dict[str, Any]]:
    """Models for pictures."""
    unknown = {"hash": None, "sha256": None, "config": None}
    return [{"title": name, "model_name": name, "filename": name, **unknown} for name in _models(request)]


@router.get("/options")
async def get_options(request: Request, _: Owner) -> dict[str, Any]:
    """What holds for all; it cannot be set: name a model in a request's `override_settings`."""
    return {"sd_model_checkpoint": next(iter(_models(request)), None), "samples_format": "png"}


def _models(request: Request) -> list[str]:
    names: list[str] = request.app.state.catalog.names("image")
    return names


def _underway(request: Request) -> Underway:
    underway: Underway = request.app.state.underway
    return underway
