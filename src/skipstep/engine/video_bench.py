"""Makes a fixed set of clips again and again, for plans and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..deepcache import DeepCache, RunReport, speed_up
from ..plan.presets import LOSSLESS
from .models import LoadedModel
from .video import CHUNK, call_video_pipeline
from .video_decode import FrameDecoder
from .video_request import SAMPLER, VideoRequest


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What all clips have in common. Sizes are pixels."""

    steps: int
    guidance_scale: float
    width: int
    height: int
    frames: int
    sampler: str = SAMPLER


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a clip starts from."""

    name: str  # of the picture, and how it moves
    picture: Image.Image
    motion: int = 127
    fps: int = 7


@dataclass(frozen=True)
class ClipBench:
    """Makes a clip of each start, each with its own seed, one at a time; latents only."""

    model: LoadedModel
    settings: ClipSettings
    starts: Sequence[Start]
    first_seed: int = 0

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names of the starts."""
        return tuple(start.name for start in self.starts)

    @cached_property
    def reference(self) -> Tensor:
        """Final latents of the uncached runs, made once."""
        return self.latents(LOSSLESS)

    def latents(self, options: DeepCache, *, prompts: int | None = None, steps: int | None = None) -> Tensor:
        """Final latents (clips, frames, channels, height / 8, width / 8) on the CPU in float32."""
        return torch.stack([made.float().cpu() for made, _ in self.run(options, prompts=prompts, steps=steps)])

    def pictures(self, options: DeepCache) -> list[Image.Image]:
        """All frames of all clips."""
        decoder = FrameDecoder(self.model.pipe)
        return [frame for made, _ in self.run(options) for frame in decoder.decode(made, chunk=min(len(made), CHUNK))]

    def run(
        self,
        options: DeepCache,
        *,
        prompts: int | None = None,
        steps: int | None = None,
        calibrations: Any = None,
    ) -> list[tuple[Tensor, RunReport]]:
        """Latents and report of every clip."""
        pipe, settings = self.model.pipe, self.settings
        made = []
        with speed_up(pipe, options, calibrations=calibrations) as run:
            for index, start in enumerate(self.starts[:prompts]):
                request = VideoRequest(
                    picture=start.picture,
                    motion=start.motion,
                    fps=start.fps,
                    frames=settings.frames,
                    width=settings.width,
                    height=settings.height,
                    steps=steps or settings.steps,
                    max_guidance=settings.guidance_scale,
                    seed=self.first_seed + index,
                )
                made.append((call_video_pipeline(pipe, request), run.report))
        return made
