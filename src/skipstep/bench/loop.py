"""The sampling loop of a UNet alone, in the shape of a pipeline, so that the core attaches to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .random_unets import UNETS, random_unet


class UNetLoop:
    """Calls a random UNet as its pipeline does: guidance in one batch of two, a scheduler between the calls."""

    def __init__(
        self,
        name: str,
        *,
        width: int,
        height: int,
        frames: int | None,
        guidance_scale: float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        from diffusers import EulerDiscreteScheduler

        self.unet = random_unet(name, device=device, dtype=dtype)
        self.scheduler: Any = EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )
        self.num_timesteps = 0
        self.guidance_scale = guidance_scale
        self.do_classifier_free_guidance = True
        channels = self.unet.config.out_channels
        sides = (height // 8, width // 8)
        self._shape = (1, frames or 14, channels, *sides) if UNETS[name].video else (1, channels, *sides)
        self._is_video = UNETS[name].video
        generator = torch.Generator().manual_seed(1)
        named = UNETS[name].inputs(self.unet, 2, generator)
        self._inputs = _moved(named, device, dtype)

    @torch.no_grad()
    def __call__(self, *, steps: int, seed: int) -> Tensor:
        """Final latents (1, channels, height / 8, width / 8), for video (1, frames, ...)."""
        weights = next(self.unet.parameters())
        self.scheduler.set_timesteps(steps, device=weights.device)
        self.num_timesteps = len(self.scheduler.timesteps)
        noise = torch.randn(self._shape, generator=torch.Generator().manual_seed(seed))
        latents: Tensor = noise.to(weights.device, weights.dtype) * self.scheduler.init_noise_sigma
        for timestep in self.scheduler.timesteps:
            scaled = self.scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            if self._is_video:  # the first frame's latents, beside those of every frame
                scaled = torch.cat([scaled, torch.zeros_like(scaled)], dim=2)
            made = self.unet(scaled, timestep, return_dict=False, **self._inputs)[0]
            without, with_text = made.chunk(2)
            guided = without + self.guidance_scale * (with_text - without)
            latents = self._stepped(guided, timestep, latents)
        if hasattr(self.unet, "_reset_stateful_cache"):  # as diffusers' pipelines do when they return
            self.unet._reset_stateful_cache()
        return latents

    def _stepped(self, guided: Tensor, timestep: Tensor, latents: Tensor) -> Tensor:
        made: Tensor = self.scheduler.step(guided, timestep, latents, return_dict=False)[0]
        return made


def _moved(values: Any, device: torch.device, dtype: torch.dtype) -> Any:
    if isinstance(values, dict):
        return {name: _moved(value, device, dtype) for name, value in values.items()}
    return values.to(device, dtype)
