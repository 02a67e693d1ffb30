"""Bodies of requests, as JSON: the shapes here, what the values may be in skipstep's own request classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from skipstep.engine.request import GUIDANCE, MAX_SEED, SIDES, STEPS, STRENGTH, USUAL_STRENGTH
from skipstep.engine.samplers import SAMPLERS
from skipstep.engine.video_request import FPS, FRAMES, MOTION, NOISE
from skipstep.engine.video_request import GUIDANCE as VIDEO_GUIDANCE
from skipstep.promptllm.adapter_use import MAX_SCALE, MAX_STACK
from skipstep.promptllm.request import CLIP_TOKENS

from ..webhooks.targets import MAX_URL, parse_target

MAX_TEXT = 4000  # characters
MAX_IMAGE = 16 * 2**20  # of base64
MAX_N = 8
MAX_TOKENS = 2048  # that a language model writes
ADAPTER = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _well_formed(url: str) -> str:
    parse_target(url)
    return url


# after the limits in an Annotated, or the schema loses them
IS_NUMBER = BeforeValidator(_no_truth)
Whole = Annotated[int, IS_NUMBER]
Real = Annotated[float, IS_NUMBER]
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(pattern=NAME)]
Side = Annotated[int, Field(ge=SIDES[0], le=SIDES[1], multiple_of=8), IS_NUMBER]
Steps = Annotated[int, Field(ge=STEPS[0], le=STEPS[1]), IS_NUMBER]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED), IS_NUMBER]
Base64 = Annotated[str, Field(max_length=MAX_IMAGE, description="A PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF in base64.")]


class Body(BaseModel):
    """A JSON object without unknown fields, NaN or infinity."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class CacheOptions(Body):
    """Options of DeepCache in place of a preset's; see docs/core.md."""

    kind: Literal["deepcache"] = Field("deepcache", description="There is no other.")
    interval: Annotated[int, Field(ge=1, le=1000), IS_NUMBER] = Field(
        3, description="Evaluations from one full pass to the next."
    )
    branch: Annotated[int, Field(ge=0, le=31), IS_NUMBER] = Field(
        0, description="The skip at which to cut; 0 is fastest."
    )
    forecast: Literal["verbatim", "linear", "linear_log_sigma", "quadratic", "quadratic_log_sigma", "calibrated"] = (
        Field("linear", description="How features are carried over to reuse passes: as they were, or foretold.")
    )
    start_step: Annotated[int, Field(ge=0, le=STEPS[1]), IS_NUMBER] | None = Field(
        None, description="Steps before it run in full."
    )
    end_step: Annotated[int, Field(ge=0, le=STEPS[1]), IS_NUMBER] | None = Field(
        None, description="Steps from it on run in full."
    )
    tolerance: Annotated[float, Field(gt=0, le=10), IS_NUMBER] | None = Field(
        None, description="Recompute when the error measured exceeds this; such jobs share no batch with others."
    )


class Acceleration(Body):
    """How the UNet is sped up: a preset, a plan of the server or options, and what its passes are compiled with."""

    preset: Literal["lossless", "quality", "balanced", "fast"] | None = Field(
        None, description="`balanced` if neither plan nor cache is given."
    )
    plan: Name | None = Field(None, description="The name of a plan that the server has; see GET /v1/acceleration.")
    cache: CacheOptions | None = Field(None, description="Options in place of a preset or a plan.")
    compiler: Literal["none", "inductor", "aot", "openvino", "oneflow", "onediff"] | None = Field(
        None, description="The server's own if not given."
    )


class Lora(Body):
    """A LoRA that the server has."""

    name: Name = Field(description="One of the `loras` of GET /v1/models.")
    scale: Annotated[float, Field(ge=-10, le=10), IS_NUMBER] = Field(1.0, description="How strongly it works.")


class AdapterName(Body):
    """An adapter of the prompt model."""

    name: Annotated[str, Field(pattern=ADAPTER)] = Field(description="One of GET /v1/prompt/adapters.")
    scale: Annotated[float, Field(ge=-MAX_SCALE, le=MAX_SCALE), IS_NUMBER] = Field(
        1.0, description="What its effect is multiplied with."
    )


class Expand(Body):
    """How a language model adds to a prompt; see docs/prompt.md."""

    model_config = ConfigDict(serialize_by_alias=True)

    preset: Name = Field("photo", description="One of GET /v1/prompt/presets.")
    seed: Seed | None = Field(None, description="Of the text; the job's if not given, or drawn at random.")
    adapters: Annotated[list[AdapterName], Field(max_length=MAX_STACK)] | None = Field(
        None, description="Adapters of the server, all at once; the model's usual one, if it has one, if not given."
    )
    keep: bool = Field(True, description="Keep the prompt and add to it; or have the model rewrite it.")
    with_schema: bool = Field(False, alias="schema", description="Have the model write the negative prompt, too.")
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS), IS_NUMBER] | None = Field(
        None, description="Of the language model's; the preset's if not given."
    )
    temperature: Annotated[float, Field(ge=0, le=2), IS_NUMBER] | None = Field(
        None, description="The preset's if not given."
    )
    max_clip_tokens: Annotated[int, Field(ge=3, le=8 * CLIP_TOKENS), IS_NUMBER] = Field(
        CLIP_TOKENS, description="CLIP's tokens of the whole prompt, the two ends counted."
    )


class Webhook(Body):
    """Where to tell of the job's end: a signed POST of JSON, see `webhooks` in this schema."""

    url: Annotated[
        str, Field(max_length=MAX_URL, json_schema_extra={"format": "uri"}), AfterValidator(_well_formed)
    ] = Field(description="https://HOST/PATH, on the public internet unless the operator allows others.")


class _Job(Body):
    model: Name | None = Field(None, description="One of GET /v1/models; the server's first if not given.")
    steps: Steps = Field(30, description="Denoising steps.")
    seed: Seed | None = Field(None, description="Drawn at random if not given, and told.")
    width: Side | None = Field(None, description="Pixels; the model's own if not given.")
    height: Side | None = Field(None, description="Pixels; the model's own if not given.")
    acceleration: Acceleration = Field(Acceleration(), description="How the UNet is sped up.")
    compare: bool = Field(False, description="Also run without the cache, alone, and measure the difference.")
    previews: bool = Field(False, description="Send previews of the steps with the events.")
    priority: Literal["interactive", "normal", "batch"] = Field(
        "normal", description="Who goes first; a minute of waiting is worth a class."
    )
    timeout_s: Annotated[float, Field(gt=0, le=86400), IS_NUMBER] | None = Field(
        None, description="Seconds after which the job expires, waiting or running; the server's own if not given."
    )
    webhook: Webhook | None = Field(None, description="Refused unless the operator has turned webhooks on.")


class ImageJob(_Job):
    """A picture from a prompt, or from a prompt and a picture."""

    kind: Literal["image"] = Field(description="Tells the two kinds of jobs apart.")
    prompt: Text = Field(description="What is to be seen.")
    negative_prompt: Text = Field("", description="What is not to be seen; has an effect with guidance only.")
    guidance_scale: Annotated[float, Field(ge=GUIDANCE[0], le=GUIDANCE[1]), IS_NUMBER] | None = Field(
        None, description="1 or less switches guidance off; the model's own if not given."
    )
    sampler: Literal[tuple(SAMPLERS)] = Field("euler", description="The solver.")  # type: ignore[valid-type]
    n: Annotated[int, Field(ge=1, le=MAX_N), IS_NUMBER] = Field(
        1, description="Pictures; their seeds follow each other."
    )
    image: Base64 | None = Field(None, description="A picture to begin with.")
    strength: Annotated[float, Field(ge=STRENGTH[0], le=STRENGTH[1]), IS_NUMBER] | None = Field(
        None, description=f"With image: how much of it may change; {USUAL_STRENGTH} if not given."
    )
    loras: Annotated[list[Lora], Field(max_length=4)] = Field(
        default_factory=list, description="LoRAs of the server, all at once."
    )
    expand: Expand | None = Field(
        None, description="Have a language model add to the prompt before it is drawn; refused where there is none."
    )
    format: Literal["png", "webp", "jpeg"] = Field("png", description="Of the files; WebP is lossless.")


class VideoJob(_Job):
    """A clip from a picture."""

    kind: Literal["video"] = Field(description="Tells the two kinds of jobs apart.")
    image: Base64 = Field(
        description="The picture that the clip begins with: a PNG, JPEG, WebP, GIF, TIFF, BMP or AVIF in base64."
    )
    steps: Steps = Field(25, description="Denoising steps.")
    frames: Annotated[int, Field(ge=FRAMES[0], le=FRAMES[1]), IS_NUMBER] | None = Field(
        None, description="How many; the model's own if not given."
    )
    fps: Annotated[int, Field(ge=FPS[0], le=FPS[1]), IS_NUMBER] = Field(
        7, description="Frames a second, which the model is told, too."
    )
    motion: Annotated[int, Field(ge=MOTION[0], le=MOTION[1]), IS_NUMBER] = Field(
        127, description="The motion bucket: the higher, the more moves."
    )
    noise: Annotated[float, Field(ge=NOISE[0], le=NOISE[1]), IS_NUMBER] = Field(
        0.02, description="Noise on the picture: more lets the clip leave it further."
    )
    min_guidance: Annotated[float, Field(ge=VIDEO_GUIDANCE[0], le=VIDEO_GUIDANCE[1]), IS_NUMBER] = Field(
        1.0, description="Guidance of the first frame."
    )
    max_guidance: Annotated[float, Field(ge=VIDEO_GUIDANCE[0], le=VIDEO_GUIDANCE[1]), IS_NUMBER] | None = Field(
        None, description="Guidance of the last frame; 1 or less switches it off; the model's own if not given."
    )
    format: Literal["mp4", "webm", "webp", "gif"] = Field("mp4", description="Of the file.")


Job = Annotated[ImageJob | VideoJob, Field(discriminator="kind")]
