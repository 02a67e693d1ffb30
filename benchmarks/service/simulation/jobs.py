"""Jobs and when they come."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skipstep.errors import OptionError


@dataclass(slots=True, kw_only=True)
class Job:
    """One picture. Times are the simulation's seconds; `ended_at` is of its answer, also where it was refused."""

    number: int
    key: int
    priority: int = 0
    came_at: float = 0.0
    placed_at: float = 0.0
    ended_at: float | None = None
    is_refused: bool = False

    @property
    def latency_s(self) -> float:
        """From its coming to its answer."""
        assert self.ended_at is not None
        return self.ended_at - self.came_at


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Who sends jobs: `rate` a second at random moments (Poisson), or `clients` that wait for each answer.

    `mix` has the share of each key, `background` that of jobs of the next lower class of priority.
    """

    jobs: int
    mix: Sequence[float] = (1.0,)
    background: float = 0.0
    rate: float | None = None
    clients: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise OptionError(f"jobs must be 1 or more, got {self.jobs}")
        if (self.rate is None) == (self.clients is None):
            raise OptionError("give either a rate of jobs or a number of clients, and not both")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise OptionError(f"rate must be above 0, got {self.rate}")
        if self.clients is not None and self.clients < 1:
            raise OptionError(f"clients must be 1 or more, got {self.clients}")
        if not self.mix or min(self.mix) < 0 or not 0 < sum(self.mix) < math.inf:
            raise OptionError(f"mix must be shares of 0 or more that are not all 0, got {list(self.mix)}")
        if not 0 <= self.background <= 1:
            raise OptionError(f"background must be 0..1, got {self.background}")

    def all_jobs(self) -> Iterator[Job]:
        """The jobs; those of a rate with their times."""
        chance, now = random.Random(self.seed), 0.0
        keys = chance.choices(range(len(self.mix)), weights=self.mix, k=self.jobs)
        for number, key in enumerate(keys):
            priority = int(chance.random() < self.background)
            if self.rate is not None:
                now += chance.expovariate(self.rate)
            yield Job(number=number, key=key, priority=priority, came_at=now)


def zipf(keys: int, *, exponent: float) -> list[float]:
    """Shares of so many keys, each 1 / its place ** exponent.

    Raises:
        OptionError: if there is none, or the exponent is below 0.
    """
    if keys < 1 or not 0 <= exponent < math.inf:
        raise OptionError(f"keys must be 1 or more and zipf 0 or more, got {keys} and {exponent}")
    return [1 / (place + 1) ** exponent for place in range(keys)]
