"""Which replica a job goes to: consistent hashing with bounded loads, so that jobs that can share a batch meet.

Mirrokni, Thorup and Zadimoghaddam 2016, arXiv:1608.01350: each key has its own order of the replicas, and goes to the
first that is not full, which is one with `factor` times the average load. The order is by rendezvous hashing (Thaler
and Ravishankar 1998), so that a replica that comes or goes moves the keys of its own alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

FACTOR = 1.25


def bound(loads: Mapping[str, int], *, factor: float = FACTOR) -> int:
    """Jobs that a replica may have with the next one: `factor` times the average, rounded up."""
    return math.ceil(factor * (sum(loads.values()) + 1) / len(loads))


def order(key: str, replicas: Iterable[str]) -> tuple[str, ...]:
    """The replicas as this key prefers them."""
    return _order(key, tuple(replicas))


@lru_cache(maxsize=1024)  # with a thousand replicas it takes a millisecond
def _order(key: str, replicas: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(replicas, key=lambda replica: hashlib.sha256(f"{key}\0{replica}".encode()).digest()))


def places(
    key: str, loads: Mapping[str, int], *, having_model: Collection[str] = (), factor: float = FACTOR
) -> list[str]:
    """The replicas to try for a job with this key, the best first; `loads` are their jobs.

    Those within the bound come first: of them those that have the model loaded, then those that have nothing to do, as
    a batch gains less than another GPU, and then as the key prefers them. The others follow by their load: a job is
    rather out of place than not run.
    """
    if not loads:
        return []
    most = bound(loads, factor=factor)
    preferred = {replica: place for place, replica in enumerate(order(key, loads))}

    def rank(replica: str) -> tuple[int, bool, bool, int]:
        excess = max(0, loads[replica] + 1 - most)
        return excess, replica not in having_model, loads[replica] > 0, preferred[replica]

    return sorted(loads, key=rank)
