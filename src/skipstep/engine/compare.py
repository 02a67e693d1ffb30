"""The same request with and without the cache, timed in turns, with the difference in figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .bootstrap import finite
from .image import GeneratedImage, ImageEngine
from .metrics import image_psnr, image_ssim, latent_psnr
from .request import ImageRequest
from .turns import OnRun, Turns, nobody, with_and_without


@dataclass(frozen=True, kw_only=True)
class Comparison(Turns[GeneratedImage]):
    """A cached picture against the uncached one of the same seed."""

    psnr: float  # dB, pixels
    ssim: float
    latent_psnr: float  # dB

    def as_dict(self) -> dict[str, Any]:
        """All figures, plain enough for JSON; the PSNR of equal pictures is None, since JSON has no infinity."""
        likeness = {"psnr_db": finite(self.psnr), "ssim": self.ssim, "latent_psnr_db": finite(self.latent_psnr)}
        return {**super().as_dict(), **likeness}


def compare(engine: ImageEngine, request: ImageRequest, *, rounds: int = 2, on_run: OnRun = nobody) -> Comparison:
    """Draw the picture with and without the cache, `rounds` times in turns with the order swapped."""
    turns = with_and_without(engine, request, rounds=rounds, on_run=on_run)
    baseline, cached = turns.baseline, turns.cached
    return Comparison(
        **vars(turns),
        psnr=image_psnr(baseline.image, cached.image),
        ssim=image_ssim(baseline.image, cached.image),
        latent_psnr=latent_psnr(baseline.latents, cached.latents),
    )
