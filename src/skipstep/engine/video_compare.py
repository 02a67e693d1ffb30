"""The same clip with and without the cache, timed in turns, with the difference in figures for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from PIL import Image

from .bootstrap import finite
from .metrics import Frames, flicker_errors, flicker_ratio, image_ssim, latent_psnr, video_psnr
from .turns import OnRun, Turns, nobody, with_and_without
from .video import GeneratedVideo, VideoEngine
from .video_request import VideoRequest


@dataclass(frozen=True, kw_only=True)
class VideoComparison(Turns[GeneratedVideo]):
    """A cached clip against the uncached one of the same seed."""

    psnr: tuple[float, ...]  # dB, one a frame
    ssim: tuple[float, ...]  # one a frame
    flicker: tuple[float, ...]  # error of the change from each frame to the next, in levels of 255
    flicker_ratio: float | None  # None where there is one frame only
    latent_psnr: float  # dB

    def as_dict(self) -> dict[str, Any]:
        """All figures, plain enough for JSON; the PSNR of equal frames is None, since JSON has no infinity."""
        likeness = {
            "psnr_db": [finite(value) for value in self.psnr],
            "median_psnr_db": finite(median(self.psnr)),
            "ssim": list(self.ssim),
            "mean_ssim": fmean(self.ssim),
            "flicker_levels": list(self.flicker),
            "flicker_ratio": finite(self.flicker_ratio),
            "latent_psnr_db": finite(self.latent_psnr),
        }
        return {**super().as_dict(), **likeness}


def compare_videos(
    engine: VideoEngine, request: VideoRequest, *, rounds: int = 1, on_run: OnRun = nobody
) -> VideoComparison:
    """Make the clip with and without the cache, `rounds` times in turns with the order swapped."""
    turns = with_and_without(engine, request, rounds=rounds, on_run=on_run)
    baseline, cached = turns.baseline, turns.cached
    reference, video = as_array(baseline.frames), as_array(cached.frames)
    many = len(reference) > 1
    return VideoComparison(
        **vars(turns),
        psnr=tuple(video_psnr(reference, video)),
        ssim=tuple(image_ssim(one, other) for one, other in zip(baseline.frames, cached.frames, strict=True)),
        flicker=tuple(flicker_errors(reference, video)) if many else (),
        flicker_ratio=flicker_ratio(reference, video) if many else None,
        latent_psnr=latent_psnr(baseline.latents, cached.latents),
    )


def as_array(frames: Sequence[Image.Image]) -> Frames:
    """(frames, height, width, 3) of 8 bits."""
    return np.stack([np.asarray(frame.convert("RGB")) for frame in frames])
