"""Makes a picture from a request, with the core on the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..deepcache import DeepCache, RunReport, speed_up
from ..deepcache.calibration import CalibrationMemory, Calibrations
from .caches import resolve_cache
from .ignored import warn_of_ignored_input
from .models import LoadedModel
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
    cache_source: str  # the preset, plan or options that it came from
    report: RunReport
    model: str
    seconds: float  # text encoders and VAE included


class ImageEngine:
    """One loaded model; makes one picture at a time.

    `calibrations` keeps what the "calibrated" forecast measures; without it, that lasts as long as the engine.
    """

    def __init__(self, model: LoadedModel, calibrations: Calibrations | None = None) -> None:
        self.model = model
        self._calibrations: Calibrations = CalibrationMemory() if calibrations is None else calibrations
        self._scheduler_config = model.pipe.scheduler.config

    def complete(self, request: ImageRequest) -> ImageRequest:
        """The request with the model's own size and guidance where it names none."""
        width, height = self.model.size
        guidance = self.model.guidance_scale if request.guidance_scale is None else request.guidance_scale
        return replace(
            request,
            width=request.width or width,
            height=request.height or height,
            guidance_scale=guidance,
        )

    def generate(self, request: ImageRequest, on_pass: OnPass | None = None) -> GeneratedImage:
        """Draw the picture; `on_pass` is told of every UNet evaluation as it ends.

        Raises:
            OptionError, BranchError, ScheduleError, PlanError: if the cache options do not fit the model or the run.
        """
        request = self.complete(request)
        pipe = self.model.pipe
        resolved = resolve_cache(
            request.cache,
            self.model,
            sampler=request.sampler,
            steps=request.steps,
            scheduler=new_scheduler(request.sampler, self._scheduler_config),
        )
        cache = resolved.options
        warn_of_ignored_input(self.model, request)
        own_scheduler, pipe.scheduler = pipe.scheduler, new_scheduler(request.sampler, self._scheduler_config)
        pipe.set_progress_bar_config(disable=True)
        kept: dict[str, Tensor] = {}

        def keep_latents(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            kept["latents"] = tensors["latents"]
            return {}

        started = time.perf_counter()
        try:
            with speed_up(pipe, cache, calibrations=self._calibrations) as run:
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
        finally:
            pipe.scheduler = own_scheduler
        seconds = time.perf_counter() - started
        return GeneratedImage(
            image=output.images[0],
            latents=kept["latents"].float().cpu(),
            request=request,
            cache=cache,
            cache_source=resolved.source,
            report=run.report,
            model=self.model.name,
            seconds=seconds,
        )
