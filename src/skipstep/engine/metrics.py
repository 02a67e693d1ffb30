"""How alike two pictures or two latents are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor


def image_psnr(reference: Image.Image, image: Image.Image) -> float:
    """PSNR in dB of 8-bit RGB pictures, peak 255; infinite for equal ones."""
    one, other = _pixels(reference), _pixels(image)
    if np.array_equal(one, other):
        return math.inf
    return float(peak_signal_noise_ratio(one, other, data_range=255))


def image_ssim(reference: Image.Image, image: Image.Image) -> float:
    """Structural similarity of 8-bit RGB pictures (Wang et al. 2004), 1 for equal ones; scikit-image's defaults."""
    return float(structural_similarity(_pixels(reference), _pixels(image), channel_axis=2, data_range=255))


def latent_psnr(reference: Tensor, latents: Tensor) -> float:
    """PSNR in dB of latents of any shape; the peak is the range of the reference, largest less smallest value."""
    error = (reference.double() - latents.double()).square().mean().item()
    peak = (reference.max() - reference.min()).item()
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))
