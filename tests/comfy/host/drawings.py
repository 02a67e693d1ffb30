"""Ways in which the scenes are sampled from: `drawing(core, tiny, "euler")` are latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .models import Sampling, TinySVD, draw, empty_latent
from .process import Core

STEPS = {"euler": 4, "heun": 3}  # 4 evaluations and 5
Tiny = Any  # TinySDXL or TinySVD
Drawing = Callable[[Core, Tiny, str], torch.Tensor]


def ksampler(**options: Any) -> Drawing:
    """`KSampler` with these of its inputs, the width and height of its latent in pixels, and its batch."""
    size = {name: options.pop(name) for name in ("width", "height", "batch") if name in options}

    def drawing(core: Core, tiny: Tiny, sampler_name: str) -> torch.Tensor:
        latent = None if isinstance(tiny, TinySVD) else empty_latent(**{"width": 64, "height": 64, **size})
        sampling = Sampling(**{"steps": STEPS.get(sampler_name, 4), "sampler_name": sampler_name, **options})
        return draw(core, tiny, latent=latent, sampling=sampling)

    return drawing


def perp_neg_guider(core: Core, tiny: Tiny, sampler_name: str) -> torch.Tensor:
    """`SamplerCustomAdvanced` with a guider of its own, and a third conditioning."""
    (empty,) = core.call("CLIPTextEncode", clip=tiny.clip, text="")
    prompts = {"positive": tiny.positive, "negative": tiny.negative, "empty_conditioning": empty}
    (guider,) = core.call("PerpNegGuider", model=tiny.model, **prompts, cfg=4.0, neg_scale=1.0)
    schedule = {"scheduler": "normal", "steps": STEPS.get(sampler_name, 4), "denoise": 1.0}
    inputs = {
        "noise": core.call("RandomNoise", noise_seed=1)[0],
        "sampler": core.call("KSamplerSelect", sampler_name=sampler_name)[0],
        "sigmas": core.call("BasicScheduler", model=tiny.model, **schedule)[0],
        "latent_image": empty_latent(width=64, height=64),
    }
    drawn: torch.Tensor = core.call("SamplerCustomAdvanced", guider=guider, **inputs)[0]["samples"]
    return drawn


def sampler_custom(core: Core, tiny: Tiny, sampler_name: str) -> torch.Tensor:
    """`SamplerCustom`, which gives the noiseless picture too."""
    levels = {"steps": STEPS.get(sampler_name, 4), "sigma_max": 14.6, "sigma_min": 0.03, "rho": 7.0}
    inputs = {
        "sampler": core.call("KSamplerSelect", sampler_name=sampler_name)[0],
        "sigmas": core.call("KarrasScheduler", **levels)[0],
        "latent_image": empty_latent(width=64, height=64),
    }
    prompts = {"positive": tiny.positive, "negative": tiny.negative}
    options = {"add_noise": True, "noise_seed": 1, "cfg": 4.0}
    drawn: torch.Tensor = core.call("SamplerCustom", model=tiny.model, **options, **prompts, **inputs)[0]["samples"]
    return drawn


def sampler_advanced(core: Core, tiny: Tiny, sampler_name: str) -> torch.Tensor:
    """`KSamplerAdvanced` for the middle of a run, which leaves noise."""
    (drawn,) = core.call(
        "KSamplerAdvanced",
        model=tiny.model,
        positive=tiny.positive,
        negative=tiny.negative,
        latent_image=empty_latent(width=64, height=64),
        add_noise="enable",
        noise_seed=1,
        steps=STEPS.get(sampler_name, 4) + 4,
        cfg=4.0,
        sampler_name=sampler_name,
        scheduler="normal",
        start_at_step=2,
        end_at_step=2 + STEPS.get(sampler_name, 4),
        return_with_leftover_noise="enable",
    )
    samples: torch.Tensor = drawn["samples"]
    return samples


def half_way(sampler_name: str) -> Sampling:
    """The second half of a run."""
    return Sampling(steps=STEPS.get(sampler_name, 4), sampler_name=sampler_name, denoise=0.5)


def second_pass(core: Core, tiny: Tiny, sampler_name: str) -> torch.Tensor:
    """The second pass of a "hires fix": the upscaled latents of a first one, half way back to noise."""
    small = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    size = {"upscale_method": "bilinear", "width": 128, "height": 128, "crop": "disabled"}
    (latent,) = core.call("LatentUpscale", samples={"samples": small}, **size)
    return draw(core, tiny, latent=latent, sampling=half_way(sampler_name))


def inpainting(core: Core, tiny: Tiny, sampler_name: str) -> torch.Tensor:
    """Only the middle of a picture, by a mask on its noise."""
    mask = torch.zeros(1, 64, 64)
    mask[:, 16:48, 16:48] = 1
    latent = {"samples": torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)), "noise_mask": mask}
    return draw(core, tiny, latent=latent, sampling=half_way(sampler_name))
