"""Trains the video model's decoder, from the image model's: latents of several frames to pixels."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clips import draw_clip
from .latents import analytic_latents
from .models import new_temporal_vae, new_vae
from .train_vae import decoder_parameters as image_decoder_parameters
from .training import Settings, load_average, train

FRAMES = 4


def decoder_parameters(vae: Any) -> list[nn.Parameter]:
    """What turns latents into frames."""
    return list(vae.decoder.parameters())


def new_video_decoder(image_decoder: Path) -> Any:
    """The VAE whose decoder decodes each frame nearly as the image model's, from that one's checkpoint."""
    image, vae = new_vae(), new_temporal_vae()
    load_average(image_decoder_parameters(image), image_decoder)
    known = image.state_dict()
    state = vae.decoder.state_dict()
    for name, tensor in state.items():
        source = known.get(f"decoder.{name.replace('.spatial_res_block', '')}")
        if source is not None:
            state[name] = source
        elif name.endswith("temporal_res_block.conv2.weight") or name.endswith("temporal_res_block.conv2.bias"):
            state[name] = torch.zeros_like(tensor)  # at first, frames do not see each other
    one = torch.zeros_like(state["time_conv_out.weight"])
    one[range(3), range(3), 1] = 1.0
    state["time_conv_out.weight"], state["time_conv_out.bias"] = one, torch.zeros(3)
    before, bias = known["post_quant_conv.weight"][:, :, 0, 0], known["post_quant_conv.bias"]
    state["conv_in.weight"] = torch.einsum("okhw,ki->oihw", known["decoder.conv_in.weight"], before)
    state["conv_in.bias"] = known["decoder.conv_in.bias"] + known["decoder.conv_in.weight"].sum((2, 3)) @ bias
    vae.decoder.load_state_dict(state)
    return vae


def train_video_decoder(settings: Settings, *, side: int, start: Path, image_decoder: bool = False) -> Any:
    """Latents with a little noise to `side` x `side` crops of four frames: the image decoder's loss, and the error of
    the differences between frames, which flicker is made of.

    `start` is a checkpoint of an earlier stage, or of the image model's decoder.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    if image_decoder:
        vae = new_video_decoder(start)
    else:
        vae = new_temporal_vae()
        load_average(decoder_parameters(vae), start)

    def loss_of(rng: random.Random, noise: torch.Generator) -> Tensor:
        videos = torch.stack([_crop(rng, side) for _ in range(settings.batch)])
        flat = videos.flatten(0, 1)
        latents = analytic_latents(flat)
        jitter = 0.12 * torch.rand((len(videos), 1, 1, 1), generator=noise).repeat_interleave(FRAMES, 0)
        latents = latents + jitter * torch.randn(latents.shape, generator=noise)
        decoded = vae.decode(latents, num_frames=FRAMES).sample
        edges = sum((decoded.diff(dim=d) - flat.diff(dim=d)).abs().mean() for d in (2, 3))
        flicker = (decoded.unflatten(0, videos.shape[:2]).diff(dim=1) - videos.diff(dim=1)).abs().mean()
        return F.l1_loss(decoded, flat) + 2 * F.mse_loss(decoded, flat) + edges + flicker

    train(vae, decoder_parameters(vae), loss_of, settings)
    return vae


def _crop(rng: random.Random, side: int) -> Tensor:
    """(4, 3, side, side): consecutive frames of a random clip, cut on the grid of latents."""
    frames = draw_clip(rng).tensor(14)
    first = rng.randrange(len(frames) - FRAMES + 1)
    top, left = (8 * rng.randint(0, (128 - side) // 8) for _ in range(2))
    return frames[first : first + FRAMES, :, top : top + side, left : left + side]
