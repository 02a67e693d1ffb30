"""Deep features of earlier full passes, and where in the run they are from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from .storage import FeatureStore, Place

INDEX, LOG_SIGMA = "evaluation", "log_sigma"


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a run a UNet evaluation stands.

    `evaluation` counts from 0 within its key; `log_sigma` is the natural logarithm of the noise level (the ratio of
    noise to signal), None where the sampler does not tell; `branch` is the cut whose features are meant.
    """

    evaluation: int
    log_sigma: float | None = None
    branch: int = 0

    def along(self, coordinate: str) -> float | None:
        """This position in a forecast's coordinate, growing as the run goes on; None where it is not known."""
        if coordinate == INDEX:
            return float(self.evaluation)
        return None if self.log_sigma is None else -self.log_sigma


class FeatureHistory:
    """The deep features of the latest full passes of one key, oldest first; it keeps `size` tensors at most.

    They are kept as `store` says, and taken out as tensors of the UNet's own type on its device.
    """

    def __init__(self, size: int, store: FeatureStore | None = None) -> None:
        self._store = FeatureStore() if store is None else store
        self._size = size
        self._entries: deque[tuple[Position, Place]] = deque()

    def make_room(self) -> None:
        """Drop the oldest if the history is full."""
        while len(self._entries) >= self._size:
            self._entries.popleft()

    def add(self, at: Position, features: Tensor) -> None:
        """Store `features`, dropping the oldest if the history is full."""
        self.make_room()
        self._entries.append((at, self._store.put(features)))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def positions(self) -> tuple[Position, ...]:
        """Where the features are from; unlike taking an entry, this brings none to the device."""
        return tuple(at for at, _ in self._entries)

    def __iter__(self) -> Iterator[tuple[Position, Tensor]]:
        return ((at, place.get()) for at, place in self._entries)

    def __getitem__(self, index: int) -> tuple[Position, Tensor]:
        at, place = self._entries[index]
        return at, place.get()

    def bring(self) -> None:
        """A forecast comes next: have all on the device, where features are kept elsewhere."""
        for _, place in self._entries:
            place.bring()

    def release(self) -> None:
        """No forecast comes next: have none on the device, where features are kept elsewhere."""
        for _, place in self._entries:
            place.release()

    @property
    def device_bytes(self) -> int:
        """Bytes held on the UNet's device."""
        return sum(place.device_bytes for _, place in self._entries)

    @property
    def host_bytes(self) -> int:
        """Bytes held in host memory beside those."""
        return sum(place.host_bytes for _, place in self._entries)
