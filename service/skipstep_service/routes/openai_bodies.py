"""The body of POST /v1/images/generations: OpenAI's fields and ours."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..jobs.bodies import IS_NUMBER, MAX_N, Acceleration, Body, Expand, ImageJob, Lora, Real, Seed, Steps, Text, Whole
from .adapting import checked, given, refused, sides_of

_PRESETS = {"low": "fast", "medium": "balanced", "high": "quality", "xhigh": "lossless", "max": "lossless"}
_OURS = ("steps", "seed", "guidance_scale", "negative_prompt", "sampler", "loras", "priority", "timeout_s", "expand")
Label = Annotated[str, Field(max_length=512)]


class ImageGeneration(Body):
    """What OpenAI's clients send, and through `extra_body` what our jobs have beyond it."""

    prompt: Text = Field(description="What is to be seen.")
    model: Label | None = Field(None, description="One of GET /v1/models, or auto.")
    n: Annotated[int, Field(ge=1, le=MAX_N), IS_NUMBER] | None = Field(None, description="Pictures; 1 if not given.")
    size: Annotated[str, Field(max_length=32)] | None = Field(None, description="WIDTHxHEIGHT or auto.")
    response_format: Literal["b64_json", "url"] | None = Field(
        None, description="b64_json if not given; a url needs the key, too."
    )
    output_format: Literal["png", "webp", "jpeg"] | None = Field(None, description="png if not given.")
    output_compression: Whole | None = Field(None, description="Cannot be chosen.")
    quality: Literal["auto", "standard", "low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="low, medium, high and max are the presets fast, balanced, quality and lossless."
    )
    background: Literal["auto", "opaque", "transparent"] | None = Field(None, description="transparent is refused.")
    style: Literal["vivid", "natural"] | None = Field(None, description="Refused: say it in the prompt.")
    moderation: Literal["auto", "low"] | None = Field(None, description="There is none.")
    user: Label | None = Field(None, description="Not kept.")
    safety_identifier: Label | None = Field(None, description="Not kept.")
    stream: bool | None = Field(None, description="Answer with server-sent events.")
    partial_images: Annotated[int, Field(ge=0, le=3), IS_NUMBER] | None = Field(None, description="With stream.")

    steps: Steps | None = Field(None, description="As in a job.")
    seed: Seed | None = Field(None, description="As in a job.")
    guidance_scale: Real | None = Field(None, description="As in a job.")
    negative_prompt: Text | None = Field(None, description="As in a job.")
    sampler: Annotated[str, Field(max_length=64)] | None = Field(None, description="As in a job.")
    loras: Annotated[list[Lora], Field(max_length=4)] | None = Field(None, description="As in a job.")
    acceleration: Acceleration | None = Field(None, description="As in a job.")
    priority: Literal["interactive", "normal", "batch"] | None = Field(None, description="As in a job.")
    timeout_s: Real | None = Field(None, description="As in a job.")
    expand: Expand | None = Field(None, description="As in a job; the answer has the `revised_prompt`.")

    @property
    def partials(self) -> int:
        """How many pictures to send before the last."""
        return self.partial_images or 0


def image_job(body: ImageGeneration, *, model: str | None) -> ImageJob:
    """The job that it asks for.

    Raises:
        InvalidRequestError, RequestValidationError: if it cannot be honoured.
    """
    _check_honoured(body)
    fields: dict[str, Any] = {
        "kind": "image",
        "prompt": body.prompt,
        "model": model,
        "n": body.n or 1,
        "format": body.output_format or "png",
        "previews": body.partials > 0,
        **sides_of(body.size),
        **given(body, *_OURS, "acceleration"),
    }
    if body.quality in _PRESETS:
        fields["acceleration"] = {"preset": _PRESETS[body.quality]}
    return checked(ImageJob, fields)


def _check_honoured(body: ImageGeneration) -> None:
    if body.background == "transparent":
        raise refused("background", "background transparent cannot be had: pictures are opaque; use opaque or auto")
    if body.style is not None:
        raise refused("style", "style cannot be chosen; leave it out and describe the style in the prompt")
    if body.output_compression is not None:
        raise refused("output_compression", "output_compression cannot be chosen; leave it out")
    if body.quality in _PRESETS and body.acceleration is not None:
        raise refused("quality", f"quality {body.quality} names a preset, and acceleration is given; give one of them")
    if body.partials and not body.stream:
        raise refused("partial_images", "partial_images needs stream true")
    if body.stream and (body.n or 1) > 1:
        raise refused("n", "a stream tells of one picture; use n 1, or no stream")
    if body.stream and body.response_format == "url":
        raise refused("response_format", "a stream has its pictures in base64; leave response_format out")
