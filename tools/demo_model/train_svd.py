"""Trains the video model: a UNet of SVD's shape together with its image encoder, on analytic latents."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import models
from .clips import draw_clip
from .latents import analytic_latents
from .training import Settings, load_average, train

UNCONDITIONAL = 0.1  # clips without their picture, for guidance
NOISE_STRENGTHS = (0.0, 0.02, 0.02, 0.02, 0.05)  # of the noise on the picture; 0.02 is the pipeline's default
SHAPES = ((128, 96), (96, 128), (160, 128))  # (width, height) beside 128 x 128 where the scale is 1
SPREAD = 1.6  # standard deviation of log sigma, as SVD was trained
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Clips of one size; small ones first, which cost a tenth and teach what moves how."""

    scale: float  # of 128 x 128 pixels
    frames: tuple[int, ...]  # any of these; of fewer, more clips make a batch
    log_sigma: float  # mean of log sigma


class ImageToVideo(nn.Module):
    """The UNet and the image encoder, saved and averaged as one."""

    def __init__(self) -> None:
        super().__init__()
        self.unet: Any = models.new_svd_unet()
        self.image_encoder = models.new_image_encoder()

    def embed(self, images: Tensor) -> Tensor:
        """(batch, 3, height, width) in [-1, 1] to (batch, 1, width of the embedding)."""
        large = F.interpolate(images, size=(224, 224), mode="bicubic", align_corners=True)
        embeds: Tensor = self.image_encoder(((large + 1) / 2 - CLIP_MEAN) / CLIP_STD).image_embeds
        return embeds[:, None]

    def velocity(self, noisy: Tensor, sigma: Tensor, picture: Tensor, embeds: Tensor, ids: Tensor) -> Tensor:
        """v of the noisy clip `noisy` = clean + sigma * noise; (batch, frames, 4, height, width)."""
        scaled = noisy / (sigma.view(-1, 1, 1, 1, 1) ** 2 + 1).sqrt()
        held = picture[:, None].expand(-1, noisy.shape[1], -1, -1, -1)
        output: Tensor = self.unet(
            torch.cat([scaled, held], 2), 0.25 * sigma.log(), embeds, added_time_ids=ids, return_dict=False
        )[0]
        return output


def train_svd(settings: Settings, stage: Stage, start: Path | None = None) -> ImageToVideo:
    """The v-loss of EDM's preconditioning (Karras et al. 2022, arXiv:2206.00364; SVD: arXiv:2311.15127, appendix D).

    `start` is the checkpoint of an earlier stage.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    model = ImageToVideo()
    if start is not None:
        load_average(list(model.parameters()), start)

    def loss_of(rng: random.Random, noise: torch.Generator) -> Tensor:
        width, height = rng.choice(SHAPES) if stage.scale == 1 and rng.random() < 0.2 else (128, 128)
        frames = rng.choice(stage.frames)
        batch = settings.batch * max(stage.frames) // frames
        clips = [draw_clip(rng, width=width, height=height) for _ in range(batch)]
        videos = torch.stack([clip.tensor(frames) for clip in clips])
        if stage.scale != 1:
            size = (videos.shape[1], 3, round(height * stage.scale), round(width * stage.scale))
            videos = torch.stack([F.interpolate(video, size=size[2:], mode="area") for video in videos])
        strengths = torch.tensor([rng.choice(NOISE_STRENGTHS) for _ in clips])
        first = videos[:, 0]
        held = first + strengths.view(-1, 1, 1, 1) * torch.randn(first.shape, generator=noise)
        picture = analytic_latents(held)
        picture = picture + 0.05 * torch.randn(picture.shape, generator=noise)  # the VAE's encoder is not exact
        kept = torch.tensor([float(rng.random() >= UNCONDITIONAL) for _ in clips])
        embeds = model.embed(first) * kept.view(-1, 1, 1)
        ids = torch.tensor([[clip.fps - 1.0, float(clip.bucket), 0.0] for clip in clips])
        ids[:, 2] = strengths
        clean = analytic_latents(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        strata = (torch.arange(len(clips)) + torch.rand(len(clips), generator=noise)) / len(clips)
        sigma = (stage.log_sigma + SPREAD * 2**0.5 * torch.erfinv((2 * strata - 1).clamp(-0.9995, 0.9995))).exp()
        epsilon = torch.randn(clean.shape, generator=noise)
        level = sigma.view(-1, 1, 1, 1, 1)
        velocity = (epsilon - level * clean) / (level**2 + 1).sqrt()
        predicted = model.velocity(clean + level * epsilon, sigma, picture * kept.view(-1, 1, 1, 1), embeds, ids)
        return F.mse_loss(predicted, velocity)

    train(model, list(model.parameters()), loss_of, settings)
    return model
