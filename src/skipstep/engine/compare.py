"""The same request with and without the cache, timed in turns, with the difference in figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ..deepcache import DeepCache
from ..deepcache.options import CALIBRATED
from .image import GeneratedImage, ImageEngine, OnPass
from .metrics import image_psnr, image_ssim, latent_psnr
from .presets import LOSSLESS
from .request import ImageRequest

OnRun = Callable[[str, int], "OnPass | None"]  # "baseline" or "cached" and the round; returns who is told of passes


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A cached picture against the uncached one of the same seed. Ratios are baseline over cached, one a round."""

    baseline: GeneratedImage
    cached: GeneratedImage
    loop_ratios: tuple[float, ...]  # the sampling loop
    total_ratios: tuple[float, ...]  # text encoders and VAE included
    psnr: float  # dB, pixels
    ssim: float
    latent_psnr: float  # dB

    @property
    def speedup(self) -> float:
        """Of the sampling loop, the median over the rounds."""
        return median(self.loop_ratios)

    @property
    def total_speedup(self) -> float:
        """Of the whole call, the median over the rounds."""
        return median(self.total_ratios)

    def as_dict(self) -> dict[str, Any]:
        """All figures, plain enough for JSON; the PSNR of equal pictures is None, since JSON has no infinity."""
        return {
            "speedup": self.speedup,
            "speedup_rounds": self.loop_ratios,
            "total_speedup": self.total_speedup,
            "total_speedup_rounds": self.total_ratios,
            "psnr_db": _finite(self.psnr),
            "ssim": self.ssim,
            "latent_psnr_db": _finite(self.latent_psnr),
        }


def _finite(decibels: float) -> float | None:
    return decibels if math.isfinite(decibels) else None


def compare(engine: ImageEngine, request: ImageRequest, *, rounds: int = 2, on_run: OnRun | None = None) -> Comparison:
    """Draw the picture with and without the cache, `rounds` times in turns with the order swapped.

    Two steps run first, unmeasured, so that no side pays for warming up.
    """
    request = engine.complete(request)
    sides = {"baseline": replace(request, cache=LOSSLESS), "cached": request}
    engine.generate(replace(request, steps=2, cache=LOSSLESS))
    if isinstance(request.cache, DeepCache) and request.cache.forecast == CALIBRATED:
        engine.generate(request)  # if nothing is known of such runs yet, this one calibrates
    made: dict[str, GeneratedImage] = {}
    loops: list[float] = []
    totals: list[float] = []
    for turn in range(rounds):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            made[name] = engine.generate(sides[name], on_run(name, turn) if on_run is not None else None)
        loops.append(made["baseline"].report.loop_s / made["cached"].report.loop_s)
        totals.append(made["baseline"].seconds / made["cached"].seconds)
    baseline, cached = made["baseline"], made["cached"]
    return Comparison(
        baseline=baseline,
        cached=cached,
        loop_ratios=tuple(loops),
        total_ratios=tuple(totals),
        psnr=image_psnr(baseline.image, cached.image),
        ssim=image_ssim(baseline.image, cached.image),
        latent_psnr=latent_psnr(baseline.latents, cached.latents),
    )
