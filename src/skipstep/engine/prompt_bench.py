"""Draws a fixed set of prompts again and again, for plans and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from ..deepcache import DeepCache, RunReport, speed_up
from ..plan.presets import LOSSLESS
from .models import LoadedModel
from .samplers import new_scheduler


class Settings(Protocol):
    """What all runs of a bench have in common. Sizes are pixels."""

    @property
    def sampler(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def guidance_scale(self) -> float: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class RunBench(Protocol):
    """Runs a model on a fixed set of prompts or pictures, and of seeds."""

    @property
    def model(self) -> LoadedModel: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def prompts(self) -> Sequence[str]: ...
    @property
    def first_seed(self) -> int: ...

    @property
    def reference(self) -> Tensor:
        """Final latents of the uncached runs."""
        ...

    def latents(self, options: DeepCache, *, prompts: int | None = None, steps: int | None = None) -> Tensor:
        """Final latents of all (or the first `prompts`) on the CPU in float32, one after the other."""
        ...

    def pictures(self, options: DeepCache) -> list[Image.Image]:
        """All pictures."""
        ...

    def run(
        self, options: DeepCache, *, prompts: int | None = None, calibrations: Any = None
    ) -> Sequence[tuple[Any, RunReport]]:
        """Latents and report of every call of the pipeline."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a plan is for. Sizes are pixels."""

    sampler: str
    steps: int
    guidance_scale: float
    width: int
    height: int


@dataclass(frozen=True)
class PromptBench:
    """Draws a fixed set of prompts, each with its own seed, in batches; latents only."""

    model: LoadedModel
    settings: RunSettings
    prompts: Sequence[str]
    first_seed: int = 0
    batch: int = 8

    @cached_property
    def reference(self) -> Tensor:
        """Final latents of the uncached runs, drawn once."""
        return self.latents(LOSSLESS)

    def latents(self, options: DeepCache, *, prompts: int | None = None, steps: int | None = None) -> Tensor:
        """Final latents (prompts, channels, height / 8, width / 8) on the CPU in float32."""
        return torch.cat([made.float().cpu() for made, _ in self.run(options, prompts=prompts, steps=steps)])

    def pictures(self, options: DeepCache) -> list[Image.Image]:
        """The pictures of all prompts."""
        return [image for made, _ in self.run(options, output_type="pil") for image in made]

    def run(
        self,
        options: DeepCache,
        *,
        prompts: int | None = None,
        steps: int | None = None,
        calibrations: Any = None,
        output_type: str = "latent",
    ) -> list[tuple[Any, RunReport]]:
        """Latents (or pictures, for "pil") and report of every batch."""
        pipe, settings = self.model.pipe, self.settings
        own, pipe.scheduler = pipe.scheduler, new_scheduler(settings.sampler, pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        texts = list(self.prompts[:prompts])
        made = []
        try:
            with speed_up(pipe, options, calibrations=calibrations) as run:
                for first in range(0, len(texts), self.batch):
                    batch = texts[first : first + self.batch]
                    seeds = [torch.Generator().manual_seed(self.first_seed + first + i) for i in range(len(batch))]
                    output = pipe(
                        prompt=batch,
                        width=settings.width,
                        height=settings.height,
                        num_inference_steps=steps or settings.steps,
                        guidance_scale=settings.guidance_scale,
                        generator=seeds,
                        output_type=output_type,
                    )
                    made.append((output.images, run.report))
        finally:
            pipe.scheduler = own
        return made
