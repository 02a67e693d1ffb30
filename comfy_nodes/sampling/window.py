"""The part of the noise schedule in which features may be reused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end`, in ComfyUI's percent of sampling as fractions: 0 is pure noise, 1 the finished picture."""

    start: float = 0.0
    end: float = 1.0

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self.start <= 0 and self.end >= 1

    def steps(self, sigmas: Sequence[float], percent_to_sigma: Callable[[float], float]) -> tuple[int, int]:
        """First step inside and first step after, of steps that begin at these noise levels.

        `percent_to_sigma` is that of the model's `model_sampling`.
        """
        highest = float("inf") if self.start <= 0 else float(percent_to_sigma(self.start))
        lowest = -1.0 if self.end >= 1 else float(percent_to_sigma(self.end))
        inside = [index for index, sigma in enumerate(sigmas[:-1]) if lowest < sigma <= highest]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)
