"""What a clip is asked for with: one frozen, self-validating set of options for CLI, HTTP and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..deepcache.options import check_whole
from .caches import Cache, check_cache
from .request import (
    MAX_SEED,
    STEPS,
    check_range,
    check_rgb,
    check_side,
    new_seed,
    plain_picture,
    plain_request_cache,
)

SAMPLER = "euler"  # SVD tells its UNet log(sigma) / 4, which diffusers' Euler scheduler alone does
FRAMES = (1, 128)
FPS = (1, 60)
MOTION = (0, 511)
NOISE = (0.0, 1.0)
GUIDANCE = (0.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """One clip that starts from a picture.

    `picture` is RGB of any size; it is cropped and scaled to `width` x `height` pixels. `frames`, `width`, `height`
    and `max_guidance` are the model's own where they are None. `motion` is SVD's motion bucket: the higher the more
    moves. `noise` is the standard deviation of the noise on the picture, whose values are -1..1. Guidance rises
    linearly from `min_guidance` at the first frame to `max_guidance` at the last; 1 or less for the last switches it
    off. `decode_chunk` frames are decoded at once; fewer take less memory. `feature_dtype` and `feature_device` say
    how features are stored, whatever `cache` says ("same": as computed); `cache` is as in `ImageRequest`.

    Raises:
        OptionError: if a value is out of range; the message names it, the range and the remedy.
    """

    picture: Image.Image = field(repr=False)
    frames: int | None = None
    fps: int = 7
    motion: int = 127
    noise: float = 0.02
    width: int | None = None
    height: int | None = None
    steps: int = 25
    min_guidance: float = 1.0
    max_guidance: float | None = None
    seed: int = field(default_factory=new_seed)
    decode_chunk: int | None = None
    cache: Cache = "balanced"
    feature_dtype: str = "same"
    feature_device: str = "same"

    def __post_init__(self) -> None:
        check_rgb(self.picture)
        for name in ("frames", "fps", "motion", "width", "height", "steps", "seed", "decode_chunk"):
            check_whole(name, getattr(self, name))
        check_cache(self.cache)
        ranges: dict[str, tuple[float, float]] = {
            "frames": FRAMES,
            "fps": FPS,
            "motion": MOTION,
            "noise": NOISE,
            "steps": STEPS,
            "seed": (0, MAX_SEED),
            "min_guidance": GUIDANCE,
            "max_guidance": GUIDANCE,
            "decode_chunk": FRAMES,
        }
        for name, allowed in ranges.items():
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, allowed)
        for name in ("width", "height"):
            check_side(name, getattr(self, name), multiple=8)

    def as_dict(self) -> dict[str, Any]:
        """All options, plain enough for JSON; the picture by its size and the SHA-256 of its pixels."""
        kept = {key: value for key, value in vars(self).items() if key not in ("picture", "cache")}
        return {"picture": plain_picture(self.picture), **kept, "cache": plain_request_cache(self.cache)}
