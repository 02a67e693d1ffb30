"""The latent space, defined rather than learned, so that the UNet and the VAE can be trained side by side.

The first three channels are an orthonormal luma/chroma transform of the mean colour of each 8x8 block,
the fourth is the standard deviation of luma inside the block. Each is normalised to mean 0 and deviation 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
COLOUR_TRANSFORM = _ROWS / _ROWS.norm(dim=1, keepdim=True)
MEAN = torch.tensor([0.587, 0.303, 0.025, 0.062]).view(1, 4, 1, 1)
STD = torch.tensor([0.538, 0.520, 0.313, 0.119]).view(1, 4, 1, 1)


def raw_latents(images: Tensor) -> Tensor:
    """(batch, 3, h, w) in [-1, 1] to (batch, 4, h/8, w/8), not normalised."""
    colour = torch.einsum("kc,bchw->bkhw", COLOUR_TRANSFORM, F.avg_pool2d(images, 8))
    luma = images.mean(1, keepdim=True)
    variance = F.avg_pool2d(luma * luma, 8) - F.avg_pool2d(luma, 8) ** 2
    return torch.cat([colour, variance.clamp_min(0).sqrt()], 1)


def analytic_latents(images: Tensor) -> Tensor:
    """(batch, 3, h, w) in [-1, 1] to normalised latents (batch, 4, h/8, w/8)."""
    return (raw_latents(images) - MEAN) / STD


def preview(latents: Tensor) -> Tensor:
    """The exact mean colour of each block: latents to (batch, 3, h/8, w/8) in [-1, 1]."""
    return torch.einsum("kc,bkhw->bchw", COLOUR_TRANSFORM, (latents * STD + MEAN)[:, :3])
