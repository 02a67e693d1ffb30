"""Trains a second model, of SD1.5's shape: four levels, one text encoder, epsilon prediction."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from . import models
from .latents import analytic_latents
from .scenes import SIZES, draw_scene, to_tensor
from .text import END, PromptEncoder, used_tokens
from .training import Settings, load_average, train

EMPTY = 0.1  # captions replaced by "": the empty negative prompt


class SmallSD15(nn.Module):
    """The UNet and its text encoder, saved and averaged as one."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        ids = used_tokens(tokenizer)
        self.text, _ = models.new_text_encoders(len(ids), end=ids.index(END))
        self.unet: Any = models.new_sd15_unet().to(memory_format=torch.channels_last)
        self.encode = PromptEncoder(tokenizer, self.text)


def train_sd15(
    tokenizer: CLIPTokenizer, settings: Settings, start: Path | None = None, *, levels: float = 0.0
) -> SmallSD15:
    """Min-SNR-weighted epsilon loss (Hang et al. 2023, arXiv:2303.09556, gamma 5) over stratified timesteps.

    `start` is the checkpoint of an earlier training to go on from. `levels` is the weight of the error of each
    channel's mean, as an error of the clean latents' mean. Epsilon prediction all but ignores it at high noise, where
    the mean is decided; the background colour is then read off the noise, not off the prompt (Lin et al. 2023,
    arXiv:2305.08891, section 2).
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    model = SmallSD15(tokenizer)
    if start is not None:
        load_average(list(model.parameters()), start)
    alphas = models.noise_levels()

    def loss_of(rng: random.Random, noise: torch.Generator) -> Tensor:
        width, height = rng.choice(SIZES) if rng.random() < 0.15 else (128, 128)
        scenes = [draw_scene(rng, width=width, height=height) for _ in range(settings.batch)]
        latents = analytic_latents(torch.stack([to_tensor(scene.image) for scene in scenes]))
        hidden = model.encode(["" if rng.random() < EMPTY else scene.caption for scene in scenes])
        strata = torch.arange(settings.batch) + torch.rand(settings.batch, generator=noise)
        timesteps = (strata / settings.batch * 1000).long().clamp(0, 999)
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        epsilon = torch.randn(latents.shape, generator=noise)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * epsilon
        noisy = noisy.to(memory_format=torch.channels_last)
        predicted = model.unet(noisy, timesteps, hidden, return_dict=False)[0]
        snr = alphas[timesteps] / (1 - alphas[timesteps])
        weight = snr.clamp(max=5) / snr
        error = predicted - epsilon
        loss = (weight * error.square().mean((1, 2, 3))).mean() / weight.mean()
        return loss + levels * (error.mean((2, 3)).square().mean(1) / snr).mean() if levels else loss

    train(model, list(model.parameters()), loss_of, settings)
    return model
