"""What a row runs: a pipeline's pictures, or the loop of a UNet alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from ..compile import Compiler
from ..deepcache import DeepCache, RunReport, attach
from ..deepcache.calibration import CalibrationMemory
from ..engine import ImageEngine, ImageRequest, load_model
from ..engine.image import call_pipeline
from ..engine.models import choose_device, choose_dtype
from ..engine.presets import LOSSLESS
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


def new_subject(case: BenchCase) -> Subject:
    """The subject of a case, its weights loaded or drawn."""
    return UNetSubject(case) if case.random_weights else PipelineSubject(case)


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
