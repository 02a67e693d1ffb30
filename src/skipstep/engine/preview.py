"""How a picture looks before it is done: latents turned into a small picture without the VAE."""

from __future__ import annotations

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_SIDE = 16  # of the latents that the map is fitted on
_SAMPLES = 24
_LARGEST = 256  # pixels a side


class PreviewMap:
    """A linear map from latents to colours, fitted to what a VAE makes of smooth random latents.

    One evaluation of the decoder when it is made; a preview then costs a matrix product.
    """

    def __init__(self, vae: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        channels = int(vae.config.latent_channels)
        coarse = torch.randn(_SAMPLES, channels, 2, 2, generator=generator) * 1.5
        smooth = functional.interpolate(coarse, size=(_SIDE, _SIDE), mode="bicubic")
        weight = next(vae.decoder.parameters())
        with torch.no_grad():
            given = smooth.to(weight.device, weight.dtype) / vae.config.scaling_factor
            pixels = vae.decode(given, return_dict=False)[0].float().cpu()
        colours = functional.adaptive_avg_pool2d(pixels, (_SIDE, _SIDE))
        points = smooth.movedim(1, -1).reshape(-1, channels)
        points = torch.cat([points, torch.ones(len(points), 1)], dim=1)
        self._matrix = torch.linalg.lstsq(points, colours.movedim(1, -1).reshape(-1, 3)).solution

    def picture(self, latents: Tensor) -> Image.Image:
        """The picture of latents (1, channels, height / 8, width / 8), scaled as the pipeline has them."""
        latent = latents[0].detach().float().cpu().movedim(0, -1)
        colours = latent @ self._matrix[:-1] + self._matrix[-1]
        levels = ((colours / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        small = Image.fromarray(levels.numpy(), "RGB")
        enlarged = min(8, max(1, _LARGEST // max(small.size)))
        return small.resize((small.width * enlarged, small.height * enlarged), Image.Resampling.BICUBIC)

    def jpeg(self, latents: Tensor) -> bytes:
        """The same as a JPEG of a few kilobytes."""
        buffer = io.BytesIO()
        self.picture(latents).save(buffer, "JPEG", quality=80)
        return buffer.getvalue()
