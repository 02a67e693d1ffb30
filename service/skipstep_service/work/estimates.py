"""How long jobs take, from those that ran."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable

_WEIGHT = 0.2  # of the latest
_UNKNOWN_S = 2.0


class Estimates:
    """Seconds a row, an exponential mean for each key; keys that never ran take the mean of all."""

    def __init__(self) -> None:
        self._means: dict[Hashable, float] = {}
        self._mean: float | None = None
        self._lock = threading.Lock()

    def note(self, key: Hashable, seconds: float, *, rows: int) -> None:
        """A row took so long in a batch of so many."""
        own = seconds / max(rows, 1)
        with self._lock:
            before = self._means.get(key, own)
            self._means[key] = before + _WEIGHT * (own - before)
            self._mean = own if self._mean is None else self._mean + _WEIGHT * (own - self._mean)

    def seconds(self, keys: Iterable[Hashable]) -> float:
        """What rows of these keys will take, one after the other."""
        with self._lock:
            other = _UNKNOWN_S if self._mean is None else self._mean
            return sum(self._means.get(key, other) for key in keys)
