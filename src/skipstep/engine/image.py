"""Makes a picture from a request, with the core on the pipeline."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..deepcache import DeepCache, RunReport, speed_up
from ..errors import DemoVocabularyWarning
from .models import LoadedModel
from .presets import preset
from .request import ImageRequest
from .samplers import new_scheduler

OnPass = Callable[[int, int, str], None]  # evaluation, evaluations in all, "F" or "r"


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """A picture, how it came about and what it cost."""

    image: Image.Image
    latents: Tensor  # (1, channels, height / 8, width / 8), on the CPU in float32
    request: ImageRequest  # with the model's own values filled in
    cache: DeepCache
    report: RunReport
    model: str
    seconds: float  # text encoders and VAE included


class ImageEngine:
    """One loaded model; makes one picture at a time."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._scheduler_config = model.pipe.scheduler.config

    def complete(self, request: ImageRequest) -> ImageRequest:
        """The request with the model's own size and guidance where it names none."""
        width, height = self.model.size
        guidance = self.model.guidance_scale if request.guidance_scale is None else request.guidance_scale
        return ImageRequest(
            **{
                **vars(request),
                "width": request.width or width,
                "height": request.height or height,
                "guidance_scale": guidance,
            }
        )

    def generate(self, request: ImageRequest, on_pass: OnPass | None = None) -> GeneratedImage:
        """Draw the picture; `on_pass` is told of every UNet evaluation as it ends.

        Raises:
            OptionError, BranchError, ScheduleError: if the cache options do not fit the model or the run.
        """
        request = self.complete(request)
        cache = request.cache if isinstance(request.cache, DeepCache) else preset(request.cache, self.model.family)
        pipe = self.model.pipe
        self._warn_of_unknown_words(request)
        pipe.scheduler = new_scheduler(request.sampler, self._scheduler_config)
        pipe.set_progress_bar_config(disable=True)
        kept: dict[str, Tensor] = {}

        def keep_latents(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            kept["latents"] = tensors["latents"]
            return {}

        started = time.perf_counter()
        with speed_up(pipe, cache) as run:
            if on_pass is not None:
                run.on_pass = lambda evaluation, kind: on_pass(evaluation, pipe.num_timesteps, kind)
            output = pipe(
                prompt=request.prompt,
                negative_prompt=request.negative_prompt or None,
                width=request.width,
                height=request.height,
                num_inference_steps=request.steps,
                guidance_scale=request.guidance_scale,
                generator=torch.Generator().manual_seed(request.seed),
                callback_on_step_end=keep_latents,
            )
        seconds = time.perf_counter() - started
        return GeneratedImage(
            image=output.images[0],
            latents=kept["latents"].float().cpu(),
            request=request,
            cache=cache,
            report=run.report,
            model=self.model.name,
            seconds=seconds,
        )

    def _warn_of_unknown_words(self, request: ImageRequest) -> None:
        if not self.model.is_demo:
            return
        from ..demo import unknown_words

        words = unknown_words(f"{request.prompt} {request.negative_prompt}")
        if words:
            warnings.warn(
                f"the demo model does not know {', '.join(words)} and does not see it; "
                "`skipstep models` lists what it can draw",
                DemoVocabularyWarning,
                stacklevel=3,
            )
