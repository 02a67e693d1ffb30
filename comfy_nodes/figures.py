"""How alike two sets of pictures are, in words."""

from __future__ import annotations

import math
from importlib.util import find_spec
from statistics import median

from torch import Tensor


def figures_of(reference: Tensor, pictures: Tensor, *, latents: tuple[Tensor, Tensor]) -> str:
    """PSNR and SSIM of pictures (batch, height, width, 3) in 0..1, and PSNR of the latents; medians of a batch.

    PSNR of pictures is of 8 bits, as they are saved, and of latents by the range of the reference.
    """
    pairs = list(zip(_eight_bits(reference), _eight_bits(pictures), strict=True))
    ssim = f", SSIM {median(_ssim(*pair) for pair in pairs):.4f}" if find_spec("skimage") else ""
    if not ssim:
        ssim = " (SSIM needs scikit-image: pip install scikit-image)"
    psnr = median(_psnr(one, other, peak=255.0) for one, other in pairs)
    made, other = latents
    latent = _psnr(made, other, peak=float(made.max() - made.min()))
    count = f" (median of {len(pairs)})" if len(pairs) > 1 else ""
    return f"PSNR {_decibels(psnr)}{ssim}{count}; latents {_decibels(latent)}"


def _eight_bits(pictures: Tensor) -> Tensor:
    return (255 * pictures.clamp(0, 1)).round()


def _psnr(reference: Tensor, other: Tensor, *, peak: float) -> float:
    error = float((reference.double() - other.double()).square().mean())
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def _decibels(psnr: float) -> str:
    return "infinite: equal" if math.isinf(psnr) else f"{psnr:.1f} dB"


def _ssim(reference: Tensor, other: Tensor) -> float:
    """Wang et al. 2004, with scikit-image's defaults."""
    from skimage.metrics import structural_similarity

    one, two = reference.byte().numpy(), other.byte().numpy()
    return float(structural_similarity(one, two, channel_axis=2, data_range=255))
