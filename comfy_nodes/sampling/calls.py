"""Which call of a run this is: its evaluation, and the key of what may share features with it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class RunCalls:
    """Counts the evaluations of one run and names the UNet calls in them.

    An evaluation is one call of the guider. Within it a set of conditionings may be called for several times, at one
    shape (tiles, perturbed attention): the n-th such call shares features with the n-th of other evaluations only.
    """

    def __init__(self) -> None:
        self.evaluation = -1
        self._is_inside = False  # between the beginning and the end of an evaluation
        self._sigma: float | None = None
        self._seen: dict[Hashable, int] = {}

    def begin(self) -> None:
        """The guider is asked for the next prediction."""
        self._is_inside = True
        self._next()

    def end(self) -> None:
        """It has answered."""
        self._is_inside = False

    def following(self, x: Any, options: Any) -> Hashable:
        """The key that `take` will give to a call with this input (batch, channels, ...) if it comes next."""
        self._follow(options)
        named = _named(x, options)
        return (named, self._seen.get(named, -1) + 1)

    def take(self, x: Any, options: Any) -> Hashable:
        """The key of a call, which is counted."""
        self._follow(options)
        named = _named(x, options)
        ordinal = self._seen[named] = self._seen.get(named, -1) + 1
        return (named, ordinal)

    def _follow(self, options: Any) -> None:
        """Count by noise level where a guider of another pack is not asked in ComfyUI's own way."""
        if self._is_inside:
            return
        sigma = float(options["sigmas"].flatten()[0])
        if sigma != self._sigma:
            self._sigma = sigma
            self._next()

    def _next(self) -> None:
        self.evaluation += 1
        self._seen.clear()


def _named(x: Any, options: Any) -> Hashable:
    """The conditionings and the shape, without channels: models append some of their own to the latent's.

    The prompts of one area have one uuid, negative and positive, and are not always called for in the same batches.
    """
    conditionings = tuple(options.get("uuids") or ()), tuple(options.get("cond_or_uncond") or ())
    return conditionings, x.shape[0], tuple(x.shape[2:])
