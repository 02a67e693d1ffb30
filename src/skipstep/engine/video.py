"""Makes a clip from a picture, with the core on the pipeline."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..compile import Compiler
from ..deepcache import DeepCache, RunReport, SplitMaker, speed_up
from ..deepcache.calibration import CalibrationMemory, Calibrations
from .caches import ResolvedCache, resolve_cache
from .models import LoadedModel
from .picture import fit_picture
from .samplers import new_scheduler
from .turns import OnPass
from .video_decode import FrameDecoder
from .video_memory import check_memory, out_of_memory
from .video_request import SAMPLER, VideoRequest

CHUNK = 8  # frames that a full-size decoder can hold beside the UNet


@dataclass(frozen=True, kw_only=True)
class GeneratedVideo:
    """A clip, how it came about and what it cost."""

    frames: tuple[Image.Image, ...]
    latents: Tensor  # (frames, channels, height / 8, width / 8), on the CPU in float32
    request: VideoRequest  # with the model's own values filled in
    cache: DeepCache
    cache_source: str  # the preset, plan or options that it came from
    report: RunReport
    model: str
    seconds: float  # encoders and decoder included
    decode_s: float  # of these, the decoder's


def call_video_pipeline(pipe: Any, request: VideoRequest) -> Tensor:
    """Final latents (frames, channels, height / 8, width / 8) of a complete request, as the pipeline made them.

    The pipeline's scheduler is put back afterwards.
    """
    own, pipe.scheduler = pipe.scheduler, new_scheduler(SAMPLER, pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    assert request.width is not None
    assert request.height is not None
    assert request.max_guidance is not None
    # the pipeline looks at the last frame's before it spreads them, and at the highest after
    ramps = request.frames != 1 and request.max_guidance > 1
    try:
        made: Tensor = pipe(
            image=fit_picture(request.picture, request.width, request.height),
            width=request.width,
            height=request.height,
            num_frames=request.frames,
            num_inference_steps=request.steps,
            min_guidance_scale=request.min_guidance if ramps else request.max_guidance,
            max_guidance_scale=request.max_guidance,
            fps=request.fps,
            motion_bucket_id=request.motion,
            noise_aug_strength=request.noise,
            generator=torch.Generator().manual_seed(request.seed),
            output_type="latent",
        ).frames
    finally:
        pipe.scheduler = own
    return made[0]


class VideoEngine:
    """One loaded image-to-video model; makes one clip at a time.

    `calibrations` keeps what the "calibrated" forecast measures; without it, that lasts as long as the engine.
    `compiler` runs both passes of the UNet and the decoder as compiled graphs.
    """

    def __init__(
        self, model: LoadedModel, calibrations: Calibrations | None = None, compiler: Compiler | None = None
    ) -> None:
        self.model = model
        self.compiler: SplitMaker | None = compiler  # of the UNet
        self.decoder = FrameDecoder(model.pipe, compiler)
        self._calibrations: Calibrations = CalibrationMemory() if calibrations is None else calibrations
        self._scheduler_config = model.pipe.scheduler.config

    def complete(self, request: VideoRequest) -> VideoRequest:
        """The request with the model's own size, frames and guidance where it names none.

        A picture that is higher than wide gets the model's own size turned by 90 degrees.
        """
        width, height = self.model.size
        if request.picture.height > request.picture.width and request.width is None and request.height is None:
            width, height = height, width
        frames = request.frames or int(self.model.pipe.unet.config.num_frames)
        guidance = self.model.guidance_scale if request.max_guidance is None else request.max_guidance
        return replace(
            request,
            width=request.width or width,
            height=request.height or height,
            frames=frames,
            max_guidance=guidance,
            decode_chunk=request.decode_chunk or (frames if self.model.is_demo else min(frames, CHUNK)),
        )

    def warm_up(self, requests: Iterable[VideoRequest]) -> None:
        """Compile all that these requests need, by making each with one evaluation of every pass.

        Two requests that differ in picture, seed, motion, rate or steps only need the same graphs.

        Raises:
            as `generate`.
        """
        for request in requests:
            self.generate(self.warming(request))

    def warming(self, request: VideoRequest) -> VideoRequest:
        """The request with one evaluation of every pass that it has.

        Raises:
            OptionError, PlanError: if its cache does not fit the model or the run.
        """
        request = self.complete(request)
        passes = (None, *self.resolve(request).options.branches)
        return replace(request, steps=len(passes), cache=DeepCache(passes=passes))

    def resolve(self, request: VideoRequest) -> ResolvedCache:
        """The options of a complete request's run, and where they are from.

        Raises:
            OptionError, PlanError: if the cache does not fit the model or the run.
        """
        resolved = resolve_cache(
            request.cache,
            self.model,
            sampler=SAMPLER,
            steps=request.steps,
            scheduler=new_scheduler(SAMPLER, self._scheduler_config),
        )
        asked = {"feature_dtype": request.feature_dtype, "feature_device": request.feature_device}
        changes: dict[str, Any] = {name: value for name, value in asked.items() if value != "same"}
        return replace(resolved, options=replace(resolved.options, **changes)) if changes else resolved

    def generate(self, request: VideoRequest, on_pass: OnPass | None = None) -> GeneratedVideo:
        """Make the clip; `on_pass` is told of every UNet evaluation as it ends.

        Raises:
            OptionError, BranchError, ScheduleError, PlanError: if the cache options do not fit the model or the run.
            OutOfMemoryError: if the frames do not fit, with the figures and what would.
        """
        request = self.complete(request)
        pipe = self.model.pipe
        resolved = self.resolve(request)
        check_memory(pipe, request, resolved.options)
        started = time.perf_counter()
        try:
            with speed_up(pipe, resolved.options, calibrations=self._calibrations, split=self.compiler) as run:
                if on_pass is not None:
                    run.on_pass = lambda evaluation, kind: on_pass(evaluation, pipe.num_timesteps, kind)
                latents = call_video_pipeline(pipe, request)
            decoding = time.perf_counter()
            frames = self.decoder.decode(latents, chunk=request.decode_chunk or len(latents))
        except torch.OutOfMemoryError as error:
            raise out_of_memory(pipe, request, resolved.options) from error
        ended = time.perf_counter()
        return GeneratedVideo(
            frames=tuple(frames),
            latents=latents.float().cpu(),
            request=request,
            cache=resolved.options,
            cache_source=resolved.source,
            report=run.report,
            model=self.model.name,
            seconds=ended - started,
            decode_s=ended - decoding,
        )
