"""What the deep features are taken to be at an evaluation that does not compute them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a run a UNet evaluation stands, counted from 0 within its key."""

    evaluation: int


class FeatureHistory:
    """The deep features of the latest full passes of one key, oldest first; it keeps `size` tensors at most."""

    def __init__(self, size: int) -> None:
        self._entries: deque[tuple[Position, Tensor]] = deque(maxlen=size)

    def add(self, at: Position, features: Tensor) -> None:
        """Store `features`, dropping the oldest if the history is full."""
        self._entries.append((at, features))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[Position, Tensor]]:
        return iter(self._entries)

    def __getitem__(self, index: int) -> tuple[Position, Tensor]:
        return self._entries[index]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors held."""
        return sum(features.numel() * features.element_size() for _, features in self._entries)


class Forecast(Protocol):
    """Deep features at an evaluation, from those of earlier full passes."""

    @property
    def history_size(self) -> int:
        """How many full passes must be remembered, 1 or more."""
        ...

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """The features at `at`; `history` holds at least one entry and must not be written to.

        May return a stored tensor itself: who uses the result in place must clone it.
        """
        ...


@dataclass(frozen=True, slots=True)
class VerbatimForecast:
    """The latest features as they are: DeepCache (Ma et al. 2023, arXiv:2312.00858)."""

    history_size: int = 1

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """The features of the latest full pass."""
        return history[-1][1]


@dataclass(frozen=True, slots=True)
class LinearForecast:
    """The straight line through the latest two, in the evaluation index: TaylorSeer at order 1 (arXiv:2503.06923).

    It goes no farther than the two were apart, so that the slope between neighbours is not drawn out over a wide gap.
    With a single full pass behind it, it is verbatim.
    """

    history_size: int = 2

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        """F_last + (F_last - F_previous) * r, where r = (at - last) / (last - previous), and at most 1."""
        last_at, last = history[-1]
        if len(history) < 2:
            return last
        previous_at, previous = history[-2]
        gap = last_at.evaluation - previous_at.evaluation
        ahead = min(at.evaluation - last_at.evaluation, gap)
        return torch.lerp(previous, last, 1 + ahead / gap)
