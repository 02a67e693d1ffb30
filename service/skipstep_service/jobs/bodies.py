"""Bodies of requests, as JSON: the shapes here, what the values may be in skipstep's own request classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from skipstep.engine.request import GUIDANCE, MAX_SEED, SIDES, STEPS, STRENGTH, USUAL_STRENGTH
from skipstep.engine.samplers import SAMPLERS
from skipstep.engine.video_request import FPS, FRAMES, MOTION, NOISE
from skipstep.engine.video_request import GUIDANCE as VIDEO_GUIDANCE

MAX_TEXT = 4000  # characters
MAX_IMAGE = 16 * 2**20  # of base64
MAX_N = 8
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth)]
Real = Annotated[float, BeforeValidator(_no_truth)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(pattern=NAME)]
Side = Annotated[Whole, Field(ge=SIDES[0], le=SIDES[1], multiple_of=8)]
Steps = Annotated[Whole, Field(ge=STEPS[0], le=STEPS[1])]
Seed = Annotated[Whole, Field(ge=0, le=MAX_SEED)]
Base64 = Annotated[str, Field(max_length=MAX_IMAGE, description="A PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF in base64.")]


class Body(BaseModel):
    """A JSON object without unknown fields, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class CacheOptions(Body):
    """Options of DeepCache in place of a preset's; see docs/core.md."""

    interval: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        3, description="Evaluations from one full pass to the next."
    )
    branch: Annotated[Whole, Field(ge=0, le=31)] = Field(0, description="The skip at which to cut; 0 is fastest.")
    forecast: Literal["verbatim", "linear", "linear_log_sigma", "quadratic", "quadratic_log_sigma", "calibrated"] = (
        "linear"
    )
    start_step: Annotated[Whole, Field(ge=0, le=STEPS[1])] = 0
    end_step: Annotated[Whole, Field(ge=0, le=STEPS[1])] | None = None
    tolerance: Annotated[Real, Field(gt=0, le=10)] | None = Field(
        None, description="Recompute when the error measured exceeds this; such jobs share no batch with others."
    )


class Acceleration(Body):
    """How the UNet is sped up: a preset, a plan of the server or options, and what its passes are compiled with."""

    preset: Literal["lossless", "quality", "balanced", "fast"] | None = Field(
        None, description="`balanced` if neither plan nor cache is given."
    )
    plan: Name | None = Field(None, description="The name of a plan that the server has; see GET /v1/acceleration.")
    cache: CacheOptions | None = None
    compiler: Literal["none", "inductor", "aot", "openvino", "onediff"] | None = Field(
        None, description="The server's own if not given."
    )


class Lora(Body):
    """A LoRA that the server has."""

    name: Name
    scale: Annotated[Real, Field(ge=-10, le=10)] = 1.0


class _Job(Body):
    model: Name | None = Field(None, description="One of GET /v1/models; the server's first if not given.")
    steps: Steps = 30
    seed: Seed | None = Field(None, description="Drawn at random if not given, and told.")
    width: Side | None = Field(None, description="Pixels; the model's own if not given.")
    height: Side | None = Field(None, description="Pixels; the model's own if not given.")
    acceleration: Acceleration = Acceleration()
    compare: bool = Field(False, description="Also run without the cache, alone, and measure the difference.")
    previews: bool = Field(False, description="Send previews of the steps with the events.")
    priority: Literal["interactive", "normal", "batch"] = "normal"
    timeout_s: Annotated[Real, Field(gt=0, le=86400)] | None = Field(
        None, description="Seconds from now after which the job expires, waiting or running."
    )


class ImageJob(_Job):
    """A picture from a prompt, or from a prompt and a picture."""

    kind: Literal["image"]
    prompt: Text
    negative_prompt: Text = ""
    guidance_scale: Annotated[Real, Field(ge=GUIDANCE[0], le=GUIDANCE[1])] | None = Field(
        None, description="1 or less switches guidance off; the model's own if not given."
    )
    sampler: Literal[tuple(SAMPLERS)] = "euler"  # type: ignore[valid-type]
    n: Annotated[Whole, Field(ge=1, le=MAX_N)] = Field(1, description="Pictures; their seeds follow each other.")
    image: Base64 | None = Field(None, description="A picture to begin with.")
    strength: Annotated[Real, Field(ge=STRENGTH[0], le=STRENGTH[1])] | None = Field(
        None, description=f"With image: how much of it may change; {USUAL_STRENGTH} if not given."
    )
    loras: Annotated[list[Lora], Field(max_length=4)] = Field(default_factory=list)
    format: Literal["png", "webp", "jpeg"] = "png"


class VideoJob(_Job):
    """A clip from a picture."""

    kind: Literal["video"]
    image: Base64
    steps: Steps = 25
    frames: Annotated[Whole, Field(ge=FRAMES[0], le=FRAMES[1])] | None = None
    fps: Annotated[Whole, Field(ge=FPS[0], le=FPS[1])] = 7
    motion: Annotated[Whole, Field(ge=MOTION[0], le=MOTION[1])] = 127
    noise: Annotated[Real, Field(ge=NOISE[0], le=NOISE[1])] = 0.02
    min_guidance: Annotated[Real, Field(ge=VIDEO_GUIDANCE[0], le=VIDEO_GUIDANCE[1])] = 1.0
    max_guidance: Annotated[Real, Field(ge=VIDEO_GUIDANCE[0], le=VIDEO_GUIDANCE[1])] | None = None
    format: Literal["mp4", "webm", "webp", "gif"] = "mp4"


Job = Annotated[ImageJob | VideoJob, Field(discriminator="kind")]
