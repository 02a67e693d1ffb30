"""What a picture is asked for with: one frozen, self-validating set of options for CLI, HTTP and benchmarks."""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..deepcache import DeepCache
from ..deepcache.options import check_whole
from ..errors import OptionError
from .caches import Cache, check_cache, plain_name
from .samplers import check_sampler

MAX_SEED = 2**32 - 1
USUAL_STRENGTH = 0.75
SIDES = (32, 4096)
STEPS = (1, 1000)
GUIDANCE = (0.0, 50.0)
STRENGTH = (0.0, 1.0)


def new_seed() -> int:
    """A seed drawn at random."""
    return secrets.randbelow(MAX_SEED + 1)


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """One picture.

    `width` and `height` are pixels, `guidance_scale` has no unit (1 or less switches guidance off); each is the
    model's own where it is None. `cache` is the name of a preset, the path of a plan file (.json), a `Plan` or a
    `DeepCache`. Without a seed one is drawn, and
    kept here, so that the request can be repeated.

    With a `picture`, RGB of any size, it is where the run begins: cropped and scaled to `width` x `height`, with noise
    that takes `strength` of the `steps` to remove: 1 keeps next to nothing of it.

    Raises:
        OptionError: if a value is out of range; the message names it, the range and the remedy.
    """

    prompt: str
    negative_prompt: str = ""
    width: int | None = None
    height: int | None = None
    steps: int = 30
    guidance_scale: float | None = None
    seed: int = field(default_factory=new_seed)
    sampler: str = "euler"
    cache: Cache = "balanced"
    picture: Image.Image | None = field(default=None, repr=False)
    strength: float | None = None

    def __post_init__(self) -> None:
        for name, text in (("prompt", self.prompt), ("negative_prompt", self.negative_prompt)):
            _check_text(name, text)
        for name in ("width", "height", "steps", "seed"):
            check_whole(name, getattr(self, name))
        check_cache(self.cache)
        for name in ("width", "height"):
            check_side(name, getattr(self, name), multiple=8)
        check_range("steps", self.steps, STEPS)
        check_range("seed", self.seed, (0, MAX_SEED))
        if self.guidance_scale is not None:
            check_range("guidance", self.guidance_scale, GUIDANCE)
        check_sampler(self.sampler)
        self._check_picture()

    def _check_picture(self) -> None:
        if self.picture is None:
            if self.strength is not None:
                raise OptionError(f"strength is for a picture to begin with, got {self.strength} and no picture")
            return
        check_rgb(self.picture)
        if self.strength is None:
            object.__setattr__(self, "strength", USUAL_STRENGTH)
        check_range("strength", self.run_strength, STRENGTH)
        if self.skipped_steps == self.steps:
            least = math.ceil(100 / self.steps) / 100
            raise OptionError(
                f"strength {self.strength} leaves no step of {self.steps} to run; use {least} or more, or more steps"
            )

    @property
    def run_strength(self) -> float:
        """The share of the steps that run."""
        return 1.0 if self.strength is None else self.strength

    @property
    def skipped_steps(self) -> int:
        """Steps that are left out at the beginning."""
        return self.steps - min(int(self.steps * self.run_strength), self.steps)  # as diffusers counts them

    def as_dict(self) -> dict[str, Any]:
        """All options, plain enough for JSON; the picture by its size and the SHA-256 of its pixels."""
        kept = {key: value for key, value in vars(self).items() if key not in ("cache", "picture")}
        picture = None if self.picture is None else plain_picture(self.picture)
        return {**kept, "picture": picture, "cache": plain_request_cache(self.cache)}


def plain_request_cache(cache: Cache) -> dict[str, Any] | str | None:
    """What a request says of its cache, plain enough for JSON."""
    return plain_cache(cache) if isinstance(cache, DeepCache) else plain_name(cache)


def plain_cache(cache: DeepCache) -> dict[str, Any]:
    """The options, plain enough for JSON."""
    forecast = cache.forecast if isinstance(cache.forecast, str) else repr(cache.forecast)
    options = {name: value for name, value in vars(cache).items() if name != "forecast"}
    return {**options, "forecast": forecast}


def check_rgb(picture: object) -> None:
    """Refuse what is not an RGB picture of Pillow.

    Raises:
        OptionError: naming how to get one.
    """
    if not isinstance(picture, Image.Image) or picture.mode != "RGB":
        raise OptionError(f"picture must be an RGB picture of Pillow, got {picture!r}; use read_picture(path)")


def plain_picture(picture: Image.Image) -> dict[str, Any]:
    """A picture by its size and the SHA-256 of its pixels."""
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    return {"width": picture.width, "height": picture.height, "sha256": digest}


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise OptionError(f"{name} must be text, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise OptionError(f"{name} must be text that can be written as UTF-8, got {text!r}") from error


def check_side(name: str, side: int | None, *, multiple: int) -> None:
    """Refuse a width or height that is out of range, or no multiple of so many pixels; None is the model's own.

    Raises:
        OptionError: naming the nearest that can be had.
    """
    if side is None:
        return
    check_range(name, side, SIDES)
    if side % multiple:
        near = round(side / multiple) * multiple
        raise OptionError(f"{name} must be a multiple of {multiple} pixels, got {side}; use {near}")


def check_range(name: str, value: float, allowed: tuple[float, float]) -> None:
    """Refuse a value outside, and NaN.

    Raises:
        OptionError: naming the value and the range.
    """
    lowest, highest = allowed
    if not lowest <= value <= highest:  # also refuses NaN
        raise OptionError(f"{name} must be {lowest}..{highest}, got {value}")
