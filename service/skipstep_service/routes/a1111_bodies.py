"""Bodies of /sdapi/v1: the fields of AUTOMATIC1111's web UI that are honoured, and what others may be."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..jobs.bodies import IS_NUMBER, MAX_N, MAX_TEXT, Base64, Expand, ImageJob, Real, Whole
from .a1111_others import check_others
from .a1111_samplers import SAMPLERS, label_of
from .adapting import checked, refused

_LORA = re.compile(r"<lora:([^:<>]{1,100})(?::([0-9.]{1,8}|-[0-9.]{1,8}))?>")
_NETWORK = re.compile(r"<(lora|lyco|hypernet):")
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Label = Annotated[str, Field(max_length=100)]


class TextToImage(BaseModel):
    """POST /sdapi/v1/txt2img. What is left out, or null, is the model's own."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)

    prompt: Text = ""
    negative_prompt: Text | None = ""
    seed: Whole | None = Field(-1, description="-1 draws one.")
    steps: Whole | None = None
    cfg_scale: Real | None = None
    width: Whole | None = None
    height: Whole | None = None
    batch_size: Annotated[int, Field(ge=1, le=MAX_N), IS_NUMBER] = 1
    n_iter: Annotated[int, Field(ge=1, le=MAX_N), IS_NUMBER] = Field(
        1, description=f"batch_size x n_iter is at most {MAX_N}."
    )
    sampler_name: Label | None = None
    sampler_index: Label | None = Field(None, description="An older name of sampler_name.")
    scheduler: Label | None = None
    override_settings: dict[str, Any] | None = Field(None, description="sd_model_checkpoint names a model.")
    expand: Expand | None = Field(None, description="Ours: as in a job.")

    @property
    def sampler_label(self) -> str:
        """As in SAMPLERS."""
        return label_of(self.sampler_name or self.sampler_index, self.scheduler)


class ImageToImage(TextToImage):
    """POST /sdapi/v1/img2img."""

    init_images: Annotated[list[Base64], Field(max_length=1)] = Field(default_factory=list)
    denoising_strength: Real | None = None
    resize_mode: Whole | None = Field(None, description="1, crop and resize, and no other.")


def image_job(body: TextToImage, *, model: str | None) -> ImageJob:
    """The job that it asks for.

    Raises:
        InvalidRequestError, RequestValidationError: if it cannot be honoured.
    """
    check_others(body.model_extra or {})
    count = body.batch_size * body.n_iter
    if count > MAX_N:
        raise refused("n_iter", f"batch_size x n_iter may be {MAX_N}, got {count}")
    usual = {"steps": body.steps, "guidance_scale": body.cfg_scale, "negative_prompt": body.negative_prompt}
    prompt, loras = split_loras(body.prompt)
    fields: dict[str, Any] = {
        "kind": "image",
        "prompt": prompt,
        "loras": loras,
        "model": model,
        "n": count,
        "seed": None if body.seed == -1 else body.seed,
        "width": body.width,
        "height": body.height,
        "sampler": SAMPLERS[body.sampler_label],
        "previews": True,
        "expand": None if body.expand is None else body.expand.model_dump(),
        **{name: value for name, value in usual.items() if value is not None},
    }
    if isinstance(body, ImageToImage):
        if len(body.init_images) != 1:
            raise refused("init_images", "init_images must be one picture in base64")
        if body.resize_mode not in (None, 1):
            raise refused("resize_mode", "resize_mode must be 1 (crop and resize), or left out")
        fields |= {"image": body.init_images[0], "strength": body.denoising_strength}
    return checked(ImageJob, fields)


def checkpoint_of(body: TextToImage) -> str | None:
    """The model that `override_settings` names.

    Raises:
        InvalidRequestError: if it is to set anything else.
    """
    settings = body.override_settings or {}
    if set(settings) - {"sd_model_checkpoint"}:
        raise refused("override_settings", "override_settings may name sd_model_checkpoint and nothing else")
    name = settings.get("sd_model_checkpoint")
    if name is not None and not isinstance(name, str):
        raise refused("override_settings", "sd_model_checkpoint must be text")
    return name


def split_loras(prompt: str) -> tuple[str, list[dict[str, Any]]]:
    """A prompt without its `<lora:NAME:SCALE>`, and these.

    Raises:
        InvalidRequestError: if it names networks of other kinds.
    """
    loras = [{"name": name, "scale": scale or 1.0} for name, scale in _LORA.findall(prompt)]
    rest = _LORA.sub("", prompt).strip() if loras else prompt
    if _NETWORK.search(rest):
        raise refused("prompt", "prompt may name networks as <lora:NAME:SCALE> and no others")
    return rest, loras
