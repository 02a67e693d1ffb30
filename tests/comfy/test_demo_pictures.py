"""Pictures and clips of the demo models through ComfyUI's own nodes, against diffusers' pipelines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from check_picture import problem
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from host.process import Core

SEED = 3
FRAMES = 5
CLOSE = 1e-5  # float32 over a whole run
CLOSE_CLIP = 1e-3  # and with two epsilons in some norms, see test_demo_equality

pytestmark = pytest.mark.usefixtures("pack")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A checkpoint, the scheduler with the noise levels of its diffusers pipeline, and that pipeline's loader."""

    name: str
    scheduler: str
    loader: str


DEMOS = (
    Demo(name="SDXL", scheduler="simple", loader="load_demo_sdxl"),
    Demo(name="SD1.5", scheduler="ddim_uniform", loader="load_demo_sd15"),
)


def noise(*shape: int) -> Tensor:
    """What KSampler draws."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def sample(core: Core, model: Any, positive: Any, negative: Any, latent: Any, **options: Any) -> dict[str, Tensor]:
    """What KSampler gives with euler."""
    fixed: dict[str, Any] = {"seed": SEED, "sampler_name": "euler", "denoise": 1.0}
    (drawn,) = core.call(
        "KSampler", model=model, positive=positive, negative=negative, latent_image=latent, **fixed, **options
    )
    return dict(drawn)


def distance(one: Tensor, other: Tensor) -> float:
    """Relative to the second, which is not empty of information."""
    assert one.shape == other.shape
    assert other.std() > 1e-3
    return float((one - other).norm() / other.norm())


def as_picture(pixels: Tensor) -> Image.Image:
    return Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().numpy())


@pytest.mark.parametrize("demo", DEMOS, ids=lambda demo: demo.name)
def test_a_picture_is_the_one_of_diffusers(core: Core, demo: Demo) -> None:
    import skipstep.demo

    model, clip, vae = core.call("SkipstepDemoCheckpoint", model=demo.name)
    prompt = "a red apple on a blue background"
    (positive,) = core.call("CLIPTextEncode", clip=clip, text=prompt)
    (negative,) = core.call("CLIPTextEncode", clip=clip, text="")
    (latent,) = core.call("EmptyLatentImage", width=128, height=128, batch_size=1)
    drawn = sample(core, model, positive, negative, latent, steps=20, cfg=3.0, scheduler=demo.scheduler)
    (pictures,) = core.call("VAEDecode", vae=vae, samples=drawn)
    assert problem(as_picture(pictures[0]), None) is None

    pipe = getattr(skipstep.demo, demo.loader)()
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler.set_timesteps(20)
    first = pipe.scheduler.sigmas[0]
    # from the highest noise level, ComfyUI starts with the variance of noise on latents; else with that of noise
    level = (first**2 + 1).sqrt() if demo.name == "SDXL" else first
    latents = pipe(
        prompt,
        negative_prompt="",
        num_inference_steps=20,
        guidance_scale=3.0,
        latents=noise(1, 4, 16, 16) * level / pipe.scheduler.init_noise_sigma,
        width=128,
        height=128,
        output_type="latent",
    ).images
    assert distance(drawn["samples"] * pipe.vae.config.scaling_factor, latents) < CLOSE


def test_a_clip_is_the_one_of_diffusers(core: Core) -> None:
    from skipstep.demo import load_demo_svd

    model, clip_vision, vae = core.call("SkipstepDemoVideoCheckpoint")
    (guided,) = core.call("VideoLinearCFGGuidance", model=model, min_cfg=1.0)
    sizes = {"width": 128, "height": 128, "video_frames": FRAMES}
    wishes: dict[str, Any] = {"motion_bucket_id": 127, "fps": 7, "augmentation_level": 0.0}
    positive, negative, latent = core.call(
        "SVD_img2vid_Conditioning", clip_vision=clip_vision, init_image=disc(), vae=vae, **sizes, **wishes
    )
    settings: dict[str, Any] = {"steps": 5, "cfg": 2.0, "scheduler": "karras"}
    drawn = sample(core, guided, positive, negative, latent, **settings)
    (frames,) = core.call("VAEDecode", vae=vae, samples=drawn)
    assert frames.shape == (FRAMES, 128, 128, 3)
    assert distance(frames[1:], frames[:-1]) > 1e-2

    pipe = load_demo_svd()
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        as_picture(disc()[0]),
        width=128,
        height=128,
        num_frames=FRAMES,
        num_inference_steps=5,
        max_guidance_scale=2.0,
        fps=7,
        motion_bucket_id=127,
        noise_aug_strength=0.0,
        latents=noise(FRAMES, 4, 16, 16)[None],
        output_type="latent",
    ).frames[0]
    scale = pipe.vae.config.scaling_factor
    # each shrinks the picture for the image encoder in its own way
    assert distance(drawn["samples"] * scale, made) < 10 * CLOSE_CLIP

    embeds = pipe._encode_image(as_picture(disc()[0]), "cpu", 1, False)
    same = sample(core, guided, [[embeds, positive[0][1]]], negative, latent, **settings)
    assert distance(same["samples"] * scale, made) < CLOSE_CLIP


def disc() -> Tensor:
    """An orange disc on blue, (1, 128, 128, 3) in 0..1, in the 256 levels that a picture file has."""
    x, y = np.meshgrid(np.arange(128), np.arange(128))
    inside = ((x - 64) ** 2 + (y - 70) ** 2 < 1000)[..., None]
    levels = np.where(inside, (230, 120, 20), (90, 140, 230)).astype(np.float32)
    return torch.from_numpy(levels / 255)[None]
