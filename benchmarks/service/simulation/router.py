"""Which replica a job goes to, as the service's router has it, fast enough for a thousand of them.

Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam 2016, arXiv:1608.01350): each key has its own
order of the replicas (rendezvous hashing, Thaler and Ravishankar 1998), and goes to the first below `factor` times the
average load. Replicas with nothing to do go first, as a batch gains less than another GPU.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache

from skipstep.errors import OptionError


class Router:
    """Counts the jobs of each replica; those of none have no place as long as all replicas have `max_ongoing`."""

    def __init__(self, *, max_ongoing: int, factor: float = 1.25) -> None:
        if max_ongoing < 1:
            raise OptionError(f"max_ongoing must be 1 or more, got {max_ongoing}")
        if not 1 <= factor < math.inf:
            raise OptionError(f"factor must be 1 or more, got {factor}; 1 spreads evenly, more keeps keys together")
        self.loads: dict[int, int] = {}
        self._max_ongoing = max_ongoing
        self._factor = factor
        self._total = 0
        self._idle: set[int] = set()
        self._orders: dict[int, dict[int, int]] = {}

    def add(self, replica: int) -> None:
        """Give it jobs from now on."""
        self.loads[replica] = 0
        self._idle.add(replica)
        self._orders.clear()

    def remove(self, replica: int) -> None:
        """Give it none any more."""
        self._total -= self.loads.pop(replica)
        self._idle.discard(replica)
        self._orders.clear()

    @property
    def bound(self) -> int:
        """Jobs that a replica may have with the next one: `factor` times the average, rounded up."""
        return math.ceil(self._factor * (self._total + 1) / len(self.loads))

    def place(self, key: int) -> int | None:
        """The replica for a job, which counts from now; None while all are full."""
        if not self.loads or self._total >= self._max_ongoing * len(self.loads):
            return None
        order = self._order(key)
        if self._idle:
            chosen = min(self._idle, key=order.__getitem__)
        else:
            most = min(self.bound, self._max_ongoing)
            # the average is below both, so there is one
            chosen = next(replica for replica in order if self.loads[replica] < most)
        self.loads[chosen] += 1
        self._total += 1
        self._idle.discard(chosen)
        return chosen

    def release(self, replica: int) -> None:
        """One of its jobs ended; nothing is counted of a replica that was removed."""
        if replica in self.loads:
            self.loads[replica] -= 1
            self._total -= 1
            if not self.loads[replica]:
                self._idle.add(replica)

    def _order(self, key: int) -> dict[int, int]:
        """Places of the replicas, in order."""
        if key not in self._orders:
            preferred = sorted(self.loads, key=lambda replica: _weight(key, replica))
            self._orders[key] = {replica: place for place, replica in enumerate(preferred)}
        return self._orders[key]


@cache
def _weight(key: int, replica: int) -> bytes:
    return hashlib.sha256(f"{key}\0{replica}".encode()).digest()
