"""Makes a picture from a request, with the core on the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..deepcache import DeepCache, RunReport, SplitMaker, speed_up
from ..deepcache.calibration import CalibrationMemory, Calibrations
from .caches import ResolvedCache, resolve_cache
from .ignored import warn_of_ignored_input
from .models import LoadedModel
from .picture import fit_picture
from .request import ImageRequest
from .samplers import new_scheduler
from .turns import OnPass


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


OnStep = Callable[[int, Tensor], None]  # step, and its latents (1, channels, height / 8, width / 8), to look at only


def call_pipeline(pipe: Any, request: ImageRequest, on_step: OnStep | None = None) -> tuple[Image.Image, Tensor]:
    """The picture of a complete request, and its latents (1, channels, height / 8, width / 8) in float32 on the CPU.

    A request with a picture needs an image-to-image pipeline. The pipeline's scheduler is put back afterwards.
    """
    own, pipe.scheduler = pipe.scheduler, new_scheduler(request.sampler, pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    kept: dict[str, Tensor] = {}

    def keep_latents(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        kept["latents"] = tensors["latents"]
        if on_step is not None:
            on_step(step, kept["latents"])
        return {}

    try:
        output = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt or None,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
            callback_on_step_end=keep_latents,
            **_start(request),
        )
    finally:
        pipe.scheduler = own
    return output.images[0], kept["latents"].float().cpu()


def _start(request: ImageRequest) -> dict[str, Any]:
    if request.picture is None:
        return {"width": request.width, "height": request.height}
    assert request.width is not None
    assert request.height is not None
    picture = fit_picture(request.picture, request.width, request.height)
    return {"image": picture, "strength": request.run_strength}


class ImageEngine:
    """One loaded model; makes one picture at a time.

    `calibrations` keeps what the "calibrated" forecast measures; without it, that lasts as long as the engine.
    `compiler` makes both passes: a `skipstep.compile.Compiler`, or a batch that other pictures share.
    """

    def __init__(
        self, model: LoadedModel, calibrations: Calibrations | None = None, compiler: SplitMaker | None = None
    ) -> None:
        self.model = model
        self.compiler = compiler
        self._calibrations: Calibrations = CalibrationMemory() if calibrations is None else calibrations
        self._scheduler_config = model.pipe.scheduler.config
        self._image_to_image: Any = None

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

    def warm_up(self, requests: Iterable[ImageRequest]) -> None:
        """Compile all that these requests need, by drawing each with one evaluation of every pass.

        Two requests that differ in prompt, seed, sampler or steps only need the same graphs.

        Raises:
            as `generate`.
        """
        for request in requests:
            self.generate(self.warming(request))

    def warming(self, request: ImageRequest) -> ImageRequest:
        """The request with one evaluation of every pass that it has.

        Raises:
            OptionError, PlanError: if its cache does not fit the model or the run.
        """
        request = self.complete(request)
        passes = (None, *self._resolve(request).options.branches)
        return replace(
            request, sampler="euler", steps=len(passes), cache=DeepCache(passes=passes), strength=None, picture=None
        )

    def _resolve(self, request: ImageRequest) -> ResolvedCache:
        return resolve_cache(
            request.cache,
            self.model,
            sampler=request.sampler,
            steps=request.steps,
            scheduler=new_scheduler(request.sampler, self._scheduler_config),
            skipped=request.skipped_steps,
        )

    def _pipeline(self, request: ImageRequest) -> Any:
        if request.picture is None:
            return self.model.pipe
        if self._image_to_image is None:
            from diffusers import AutoPipelineForImage2Image

            self._image_to_image = AutoPipelineForImage2Image.from_pipe(self.model.pipe)
        return self._image_to_image

    def generate(
        self, request: ImageRequest, on_pass: OnPass | None = None, on_step: OnStep | None = None
    ) -> GeneratedImage:
        """Draw the picture; `on_pass` is told of every UNet evaluation as it ends, `on_step` of every step.

        Raises:
            OptionError, BranchError, ScheduleError, PlanError: if the cache options do not fit the model or the run.
        """
        request = self.complete(request)
        pipe = self._pipeline(request)
        resolved = self._resolve(request)
        cache = resolved.options
        warn_of_ignored_input(self.model, request)
        started = time.perf_counter()
        with speed_up(pipe, cache, calibrations=self._calibrations, split=self.compiler) as run:
            if on_pass is not None:
                run.on_pass = lambda evaluation, kind: on_pass(evaluation, pipe.num_timesteps, kind)
            image, latents = call_pipeline(pipe, request, on_step)
        seconds = time.perf_counter() - started
        return GeneratedImage(
            image=image,
            latents=latents,
            request=request,
            cache=cache,
            cache_source=resolved.source,
            report=run.report,
            model=self.model.name,
            seconds=seconds,
        )
