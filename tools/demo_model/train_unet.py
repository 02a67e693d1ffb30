"""Trains the UNet together with both text encoders: v-prediction on analytic latents."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from . import models
from .latents import analytic_latents
from .scenes import SIZES, draw_scene, to_tensor
from .text import END, CaptionEncoder, used_tokens
from .training import Settings, train

UNCONDITIONAL = 0.07  # captions replaced by zeros: diffusers' empty negative prompt
EMPTY = 0.04  # captions replaced by "": ComfyUI's empty negative prompt


class TextToImage(nn.Module):
    """The UNet and both text encoders, saved and averaged as one."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        ids = used_tokens(tokenizer)
        self.first, self.second = models.new_text_encoders(len(ids), end=ids.index(END))
        self.unet: Any = models.new_unet().to(memory_format=torch.channels_last)
        self.encode = CaptionEncoder(tokenizer, self.first, self.second)

    def predict(self, noisy: Tensor, timesteps: Tensor, hidden: Tensor, pooled: Tensor) -> Tensor:
        """The predicted velocity; the picture's size is taken from the latents."""
        height, width = noisy.shape[-2] * 8.0, noisy.shape[-1] * 8.0
        sizes = torch.tensor([[height, width, 0, 0, height, width]]).expand(len(noisy), 6)
        added = {"text_embeds": pooled, "time_ids": sizes}
        output: Tensor = self.unet(noisy, timesteps, hidden, added_cond_kwargs=added, return_dict=False)[0]
        return output


def train_unet(tokenizer: CLIPTokenizer, settings: Settings) -> TextToImage:
    """Min-SNR-weighted v-loss (Hang et al. 2023, arXiv:2303.09556, gamma 5) over stratified timesteps."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    model = TextToImage(tokenizer)
    alphas = models.noise_levels()

    def loss_of(rng: random.Random, noise: torch.Generator) -> Tensor:
        width, height = rng.choice(SIZES) if rng.random() < 0.25 else (128, 128)
        scenes = [draw_scene(rng, width=width, height=height) for _ in range(settings.batch)]
        latents = analytic_latents(torch.stack([to_tensor(scene.image) for scene in scenes]))
        chances = [rng.random() for _ in scenes]
        emptied = [chance < EMPTY for chance in chances]
        hidden, pooled = model.encode(["" if e else s.caption for e, s in zip(emptied, scenes, strict=True)])
        kept = torch.tensor([float(not EMPTY <= chance < EMPTY + UNCONDITIONAL) for chance in chances])
        hidden, pooled = hidden * kept.view(-1, 1, 1), pooled * kept.view(-1, 1)
        strata = torch.arange(settings.batch) + torch.rand(settings.batch, generator=noise)
        timesteps = (strata / settings.batch * 1000).long().clamp(0, 999)
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        epsilon = torch.randn(latents.shape, generator=noise)
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * epsilon
        velocity = alpha.sqrt() * epsilon - (1 - alpha).sqrt() * latents
        predicted = model.predict(noisy.to(memory_format=torch.channels_last), timesteps, hidden, pooled)
        snr = alphas[timesteps] / (1 - alphas[timesteps])
        weight = (snr.clamp(max=5) / (snr + 1)).clamp_min(0.02)
        return (weight * (predicted - velocity).square().mean((1, 2, 3))).mean() / weight.mean()

    train(model, list(model.parameters()), loss_of, settings)
    return model
