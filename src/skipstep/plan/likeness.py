"""How alike latents are."""

from __future__ import annotations

import math
from statistics import median

from torch import Tensor


def latent_psnr(reference: Tensor, latents: Tensor) -> float:
    """PSNR in dB of latents of any shape; the peak is the range of the reference, largest less smallest value."""
    error = (reference.double() - latents.double()).square().mean().item()
    peak = (reference.max() - reference.min()).item()
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def median_psnr(reference: Tensor, latents: Tensor) -> float:
    """Median over prompts, the first dimension, of the latent PSNR, dB."""
    return median(latent_psnr(one, other) for one, other in zip(reference, latents, strict=True))
