"""How many replicas there should be, as Ray Serve's default policy has it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skipstep.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Between `least` and `most` replicas, so that each has about `target_ongoing` jobs."""

    least: int
    most: int
    target_ongoing: float
    upscale_delay_s: float = 10.0
    downscale_delay_s: float = 300.0
    look_s: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise OptionError(f"replicas must be 1 <= least <= most, got {self.least} and {self.most}")
        if not 0 < self.target_ongoing < math.inf or self.look_s <= 0:
            raise OptionError(f"target_ongoing and look_s must be above 0, got {self.target_ongoing}, {self.look_s}")
        if min(self.upscale_delay_s, self.downscale_delay_s) < 0:
            raise OptionError(f"delays must be 0 or more, got {self.upscale_delay_s} and {self.downscale_delay_s}")


class Autoscaler:
    """Decides after the wish for more, or for fewer, has lasted its delay."""

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._since: float | None = None
        self._direction = 0

    def replicas(self, now: float, *, ongoing: int, current: int) -> int:
        """How many there should be by now; `current` are those that run or start."""
        scaling = self._scaling
        desired = min(max(math.ceil(ongoing / scaling.target_ongoing), scaling.least), scaling.most)
        direction = (desired > current) - (desired < current)
        if direction != self._direction or self._since is None:
            self._direction, self._since = direction, now
        delay = scaling.upscale_delay_s if direction > 0 else scaling.downscale_delay_s
        if not direction or now - self._since < delay:
            return current
        self._since = now
        return desired
