"""Trains the VAE's two halves, each against the analytic latents."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .latents import analytic_latents
from .models import new_vae
from .scenes import draw_scene, to_tensor
from .training import Settings, load_average, train

CROP = 64
Pictures = Callable[[random.Random, int], Tensor]


def random_crops(rng: random.Random, count: int) -> Tensor:
    """(count, 3, 64, 64), on the grid of latents, nearer the middle than the rim."""
    crops = []
    for _ in range(count):
        image = to_tensor(draw_scene(rng, pairs=0.4).image)
        top, left = (8 * min(8, max(0, round(rng.gauss(4, 2.5)))) for _ in range(2))
        crops.append(image[:, top : top + CROP, left : left + CROP])
    return torch.stack(crops)


def decoder_parameters(vae: AutoencoderKL) -> list[nn.Parameter]:
    """What turns latents into pixels."""
    return [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]


def encoder_parameters(vae: AutoencoderKL) -> list[nn.Parameter]:
    """What turns pixels into latents."""
    return [*vae.encoder.parameters(), *vae.quant_conv.parameters()]


def whole_pictures(rng: random.Random, count: int) -> Tensor:
    """(count, 3, 128, 128)."""
    return torch.stack([to_tensor(draw_scene(rng, pairs=0.4).image) for _ in range(count)])


def train_decoder(settings: Settings, *, start: Path | None = None, pictures: Pictures = random_crops) -> AutoencoderKL:
    """Latents with a little noise to pixels: L1 + 2 MSE, and L1 of the differences of neighbours for sharp edges.

    Crops first, being cheap; then whole pictures from the averaged weights in `start`, because group norms see other
    statistics in a crop and would tint flat backgrounds.
    """
    vae = _new_vae(settings, start, decoder_parameters)

    def loss_of(rng: random.Random, noise: torch.Generator) -> Tensor:
        images = pictures(rng, settings.batch)
        latents = analytic_latents(images)
        jitter = 0.12 * torch.rand((len(images), 1, 1, 1), generator=noise)
        latents = latents + jitter * torch.randn(latents.shape, generator=noise)
        decoded = vae.decode(latents.to(memory_format=torch.channels_last)).sample
        edges = sum((decoded.diff(dim=d) - images.diff(dim=d)).abs().mean() for d in (2, 3))
        return F.l1_loss(decoded, images) + 2 * F.mse_loss(decoded, images) + edges

    train(vae, decoder_parameters(vae), loss_of, settings)
    return vae


def train_encoder(settings: Settings, *, start: Path | None = None, pictures: Pictures = random_crops) -> AutoencoderKL:
    """Pixels to analytic latents: MSE of the mean, log-variance pulled to -12; crops, then whole pictures."""
    vae = _new_vae(settings, start, encoder_parameters)

    def loss_of(rng: random.Random, _: torch.Generator) -> Tensor:
        images = pictures(rng, settings.batch)
        posterior = vae.encode(images.to(memory_format=torch.channels_last)).latent_dist
        return F.mse_loss(posterior.mean, analytic_latents(images)) + 1e-3 * (posterior.logvar + 12).square().mean()

    train(vae, encoder_parameters(vae), loss_of, settings)
    return vae


def _new_vae(settings: Settings, start: Path | None, trained: Callable[[Any], list[nn.Parameter]]) -> Any:
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    vae = new_vae().to(memory_format=torch.channels_last)
    if start is not None:
        load_average(trained(vae), start)
    return vae
