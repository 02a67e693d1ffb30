"""The body of POST /v1/videos, as JSON or as a form: the fields that vLLM-Omni and SGLang share, and ours."""

from __future__ import annotations

import base64
import json
import re
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import AliasChoices, BeforeValidator, Field, ValidationError
from starlette.datastructures import UploadFile

from ..jobs.bodies import IS_NUMBER, MAX_IMAGE, Acceleration, Base64, Body, Real, Seed, Steps, Text, VideoJob, Whole
from .adapting import checked, given, in_body, refused, sides_of

_FIELD = re.compile(r"([a-z_]{1,32})\[([a-z_]{1,32})\]")  # as OpenAI's client writes objects in forms
_OURS = ("seed", "fps", "motion", "noise", "min_guidance", "max_guidance", "acceleration", "priority", "timeout_s")
_FORM = {"max_files": 1, "max_fields": 40, "max_part_size": MAX_IMAGE}
Count = Annotated[int, Field(ge=1, le=1000), IS_NUMBER]


def _unwrapped(value: Any) -> Any:
    """The picture from OpenAI's {"image_url": "data:..."}; only what is sent along is taken."""
    if not isinstance(value, dict):
        return value
    if set(value) != {"image_url"}:
        raise ValueError("must be a file, a picture in base64, or an object with an image_url alone")
    return value["image_url"]


Picture = Annotated[Base64, BeforeValidator(_unwrapped)]


class VideoCreation(Body):
    """A clip that begins with a picture."""

    prompt: Text | None = Field(None, description="Not used: the models make clips from pictures alone.")
    input_reference: Picture | None = Field(None, description="The picture: a file, or base64.")
    model: Annotated[str, Field(max_length=512)] | None = Field(None, description="One of GET /v1/models, or auto.")
    seconds: Annotated[float, Field(gt=0, le=128), IS_NUMBER] | None = Field(None, description="Gives frames, by fps.")
    size: Annotated[str, Field(max_length=32)] | None = Field(None, description="WIDTHxHEIGHT or auto.")
    user: Annotated[str, Field(max_length=512)] | None = Field(None, description="Not kept.")

    frames: Count | None = Field(
        None, validation_alias=AliasChoices("frames", "num_frames"), description="As in a job; or num_frames."
    )
    steps: Steps | None = Field(
        None,
        validation_alias=AliasChoices("steps", "num_inference_steps"),
        description="As in a job; or num_inference_steps.",
    )
    seed: Seed | None = Field(None, description="As in a job.")
    fps: Count | None = Field(None, description="As in a job.")
    motion: Whole | None = Field(None, description="As in a job.")
    noise: Real | None = Field(None, description="As in a job.")
    min_guidance: Real | None = Field(None, description="As in a job.")
    max_guidance: Real | None = Field(
        None,
        validation_alias=AliasChoices("max_guidance", "guidance_scale"),
        description="As in a job; or guidance_scale.",
    )
    acceleration: Acceleration | None = Field(None, description="As in a job.")
    priority: Literal["interactive", "normal", "batch"] | None = Field(None, description="As in a job.")
    timeout_s: Real | None = Field(None, description="As in a job.")
    format: Literal["mp4", "webm"] | None = Field(None, description="mp4 if not given.")


def request_schema() -> dict[str, Any]:
    """Of OpenAPI: the same fields in both forms."""
    schema = VideoCreation.model_json_schema()
    plain: dict[str, Any] = {"type": "object", "description": "As in POST /v1/jobs; JSON, in a form."}
    fields = {**schema["properties"], "acceleration": plain}
    file = {"type": "string", "format": "binary", "description": "The picture."}
    forms = {"application/json": fields, "multipart/form-data": {**fields, "input_reference": file}}
    needed = ["input_reference"]
    return {
        "required": True,
        "content": {
            form: {"schema": {"type": "object", "properties": properties, "required": needed}}
            for form, properties in forms.items()
        },
    }


async def read_body(request: Request) -> VideoCreation:
    """The body, of either form.

    Raises:
        RequestValidationError, HTTPException: if it cannot be read.
    """
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if form in ("multipart/form-data", "application/x-www-form-urlencoded"):
            return VideoCreation.model_validate(await _fields_of(request))
        return VideoCreation.model_validate_json(await request.body())
    except ValidationError as error:
        raise in_body(error) from error


async def _fields_of(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    async with request.form(**_FORM) as form:
        for name, value in form.multi_items():
            nested = _FIELD.fullmatch(name)
            if isinstance(value, UploadFile):
                fields[name] = base64.b64encode(await value.read()).decode()
            elif nested is not None:
                inner = fields.setdefault(nested[1], {})
                if not isinstance(inner, dict):
                    raise refused(nested[1], f"{nested[1]} is given twice")
                inner[nested[2]] = value
            else:
                fields[name] = _decoded(name, value)
    return fields


def _decoded(name: str, value: str) -> Any:
    """Objects are JSON in forms."""
    if name != "acceleration":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise refused(name, f"{name} must be an object in JSON") from error


def video_job(body: VideoCreation, *, model: str | None) -> VideoJob:
    """The job that it asks for.

    Raises:
        InvalidRequestError, RequestValidationError: if it cannot be honoured.
    """
    if body.input_reference is None:
        raise refused(
            "input_reference", "input_reference is needed: the models of this server make clips from a picture"
        )
    if body.input_reference.startswith(("http:", "https:")):
        raise refused("input_reference", "input_reference must be the picture itself: this server fetches no URLs")
    fields: dict[str, Any] = {
        "kind": "video",
        "image": body.input_reference,
        "model": model,
        "format": body.format or "mp4",
        **sides_of(body.size),
        **given(body, *_OURS, "steps"),
    }
    frames = _frames(body)
    return checked(VideoJob, fields if frames is None else {**fields, "frames": frames})


def _frames(body: VideoCreation) -> int | None:
    if body.seconds is None:
        return body.frames
    fps = body.fps or VideoJob.model_fields["fps"].default
    frames = max(1, round(body.seconds * fps))
    if body.frames not in (None, frames):
        raise refused("seconds", f"seconds at {fps} fps are {frames} frames, and frames is {body.frames}; give one")
    return frames
