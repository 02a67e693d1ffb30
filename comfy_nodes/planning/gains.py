"""How much of an output error at each evaluation a ComfyUI sampler carries into the final latent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from skipstep.plan import SamplerPath, path_gains

from .runs import RunSettings


def sampler_gains(model: Any, settings: RunSettings) -> tuple[float, ...]:
    """|d final latent / d UNet output|, one per evaluation: the sampler itself, run on numbers.

    Raises:
        UnsupportedModelError: if it cannot be run so.
    """
    return path_gains(lambda disturbed: _run(model, settings, disturbed), settings.sampler)


class _Numbers(comfy.samplers.CFGGuider):
    """A guider whose UNet's guided outputs are all 0, but one, which is 1."""

    def __init__(self, model: Any, disturbed: int | None) -> None:
        super().__init__(model)
        self.inner_model = SimpleNamespace(model_sampling=model.get_model_object("model_sampling"))
        self.inputs: list[float] = []
        self._disturbed = disturbed

    def __call__(self, x: Tensor, sigma: Tensor, model_options: Any = None, seed: int | None = None) -> Tensor:
        """What the guided output is denoised to."""
        sampling = self.inner_model.model_sampling
        output = torch.full_like(x, 1.0 if len(self.inputs) == self._disturbed else 0.0)
        self.inputs.append(float(sampling.calculate_input(sigma, x).mean()))
        denoised: Tensor = sampling.calculate_denoised(sigma, output, x)
        told = {
            "denoised": denoised,
            "cond_denoised": denoised,
            "uncond_denoised": denoised,
            "input": x,
            "sigma": sigma,
        }
        for hear in (model_options or {}).get("sampler_post_cfg_function", ()):  # of the CFG++ samplers
            denoised = hear({**told, "cond_scale": 1.0, "model_options": model_options})
        return denoised


def _run(model: Any, settings: RunSettings, disturbed: int | None) -> SamplerPath:
    numbers = _Numbers(model, disturbed)
    sigmas = settings.sigmas(model).clone()  # uni_pc changes the last one
    final = comfy.samplers.sampler_object(settings.sampler).sample(
        numbers,
        sigmas,
        {"model_options": {}, "seed": 0},  # the seed of a stochastic sampler's noise
        None,
        torch.ones(1, 4, 2, 2),
        latent_image=torch.zeros(1, 4, 2, 2),
        disable_pbar=True,
    )
    return SamplerPath(tuple(numbers.inputs), float(final.mean()))
