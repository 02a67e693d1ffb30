"""What a row runs: a pipeline's pictures or clips, or the loop of a UNet alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..compile import Compiler
from ..deepcache import DeepCache, RunReport, attach
from ..deepcache.calibration import CalibrationMemory
from ..engine import ImageEngine, ImageRequest, load_model
from ..engine.image import call_pipeline
from ..engine.models import VIDEO_FAMILIES, choose_device, choose_dtype
from ..engine.video import VideoEngine, call_video_pipeline
from ..engine.video_compare import as_array
from ..engine.video_request import VideoRequest
from ..engine.video_starts import demo_starts
from ..plan.presets import LOSSLESS
from .case import BenchCase, BenchRow
from .loop import UNetLoop
from .peers import Peer

PROMPTS = ("a fox on a blue background", "a car on a yellow background")  # the demo model's


@dataclass(frozen=True, kw_only=True)
class Made:
    """One run."""

    latents: Tensor  # (1, ...) on the CPU in float32
    image: Image.Image | None
    report: RunReport | None  # None: another library's


class Subject(Protocol):
    """The model of a case."""

    device: torch.device
    runs: int  # different inputs; each row runs them all

    def run(self, row: BenchRow, compiler: Compiler | None, peer: Peer | None, index: int) -> Made:
        """Run a row on input `index`."""
        ...


class PipelineSubject:
    """Pictures of a model with weights; seeds and prompts are the same in every row."""

    def __init__(self, case: BenchCase) -> None:
        self._case = case
        self._model = load_model(case.model, device=case.device, dtype=case.dtype)
        self.device = self._model.pipe.unet.device
        self._calibrations = CalibrationMemory()
        self._prompts = case.prompts or PROMPTS
        self.runs = len(self._prompts)

    def run(self, row: BenchRow, compiler: Compiler | None, peer: Peer | None, index: int) -> Made:
        """One picture."""
        case = self._case
        request = ImageRequest(
            prompt=self._prompts[index],
            seed=case.seed + index,
            width=case.width,
            height=case.height,
            steps=row.steps or case.steps,
            guidance_scale=case.guidance,
            sampler=case.sampler,
            cache=row.reuse or row.cache or LOSSLESS,
        )
        engine = ImageEngine(self._model, self._calibrations, compiler)
        if peer is not None:
            with peer.on(self._model.pipe):
                image, latents = call_pipeline(self._model.pipe, engine.complete(request))
            return Made(latents=latents, image=image, report=None)
        made = engine.generate(request)
        return Made(latents=made.latents, image=made.image, report=made.report)


class UNetSubject:
    """The loop of a UNet with random weights; there is no picture to compare."""

    runs = 1

    def __init__(self, case: BenchCase) -> None:
        self._case = case
        self.device = choose_device(case.device)
        self._loop = UNetLoop(
            case.model,
            width=case.width,
            height=case.height,
            frames=case.frames,
            guidance_scale=5.0 if case.guidance is None else case.guidance,
            device=self.device,
            dtype=choose_dtype(case.dtype, self.device),
        )
        self._calibrations = CalibrationMemory()

    def run(self, row: BenchRow, compiler: Compiler | None, peer: Peer | None, index: int) -> Made:
        """One loop."""
        steps, seed = row.steps or self._case.steps, self._case.seed + index
        if peer is not None:
            with peer.on(self._loop):
                return Made(latents=self._loop(steps=steps, seed=seed).float().cpu(), image=None, report=None)
        options = row.reuse or LOSSLESS
        run = attach(self._loop, options, calibrations=self._calibrations, split=compiler)
        try:
            latents = self._loop(steps=steps, seed=seed).float().cpu()
            return Made(latents=latents, image=None, report=run.report)
        finally:
            run.detach()


class ClipSubject:
    """Clips of a model with weights, from pictures of the demo model; the same in every row."""

    runs = 2

    def __init__(self, case: BenchCase) -> None:
        self._case = case
        self._model = load_model(case.model, device=case.device, dtype=case.dtype, families=VIDEO_FAMILIES)
        self.device = self._model.pipe.unet.device
        self._calibrations = CalibrationMemory()
        self._starts = demo_starts(self.runs)

    def run(self, row: BenchRow, compiler: Compiler | None, peer: Peer | None, index: int) -> Made:
        """One clip, its frames side by side."""
        case, start = self._case, self._starts[index]
        request = VideoRequest(
            picture=start.picture,
            motion=start.motion,
            seed=case.seed + index,
            width=case.width,
            height=case.height,
            frames=case.frames,
            steps=row.steps or case.steps,
            max_guidance=case.guidance,
            cache=row.reuse or row.cache or LOSSLESS,
        )
        engine = VideoEngine(self._model, self._calibrations, compiler)
        if peer is not None:
            request = engine.complete(request)
            with peer.on(self._model.pipe):
                latents = call_video_pipeline(self._model.pipe, request)
                frames = engine.decoder.decode(latents, chunk=request.decode_chunk or len(latents))
            return Made(latents=latents[None].float().cpu(), image=_strip(frames), report=None)
        made = engine.generate(request)
        return Made(latents=made.latents[None], image=_strip(made.frames), report=made.report)


def _strip(frames: Sequence[Image.Image]) -> Image.Image:
    return Image.fromarray(np.concatenate(list(as_array(frames)), axis=1))


def new_subject(case: BenchCase) -> Subject:
    """The subject of a case, its weights loaded or drawn."""
    if case.random_weights:
        return UNetSubject(case)
    return PipelineSubject(case) if case.frames is None else ClipSubject(case)


def shortened(row: BenchRow) -> BenchRow:
    """A row that needs the same graphs and as few evaluations as can be: to warm up."""
    if row.cache is not None or row.peer is not None:
        return row
    if row.reuse is None:
        return replace(row, steps=2)
    if row.reuse.passes is not None:
        return row
    # evaluation 0 alone in full: samplers with two evaluations a step make three of two steps
    return replace(row, steps=2, reuse=DeepCache(branch=row.reuse.branch, full_evaluations=(0,)))
