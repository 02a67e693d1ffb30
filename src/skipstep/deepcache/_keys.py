"""What must never share features in a run of a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import Tensor


class CallKeys:
    """Names the calls of one run.

    The key is the input shape, the conditioning tensor (by its memory, which is held so that it cannot be given to
    another), and the ordinal of the call at this point of the run, for pipelines that evaluate the same inputs twice
    before the sampler moves on. The point is the sampler's own step index, or the timestep's memory where it has none.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, Tensor] = {}
        self._at: Any = None
        self._held_timestep: Any = None
        self._seen: dict[Hashable, int] = {}

    def key(self, sample: Tensor, timestep: Any, conditioning: Tensor, step_index: int | None) -> Hashable:
        """The key of one call; asks nothing of the device."""
        memory = _identity(conditioning)
        self._held.setdefault(memory, conditioning)
        at: Any = step_index
        if at is None:
            at = _identity(timestep) if isinstance(timestep, Tensor) else timestep
        if at != self._at:
            self._at, self._held_timestep = at, timestep
            self._seen = {}
        call = (tuple(sample.shape), memory)
        ordinal = self._seen[call] = self._seen.get(call, -1) + 1
        return (*call, ordinal)


def _identity(tensor: Tensor) -> Hashable:
    version = 0 if tensor.is_inference() else tensor._version  # written in place counts as another conditioning
    return tensor.data_ptr(), tuple(tensor.shape), version
