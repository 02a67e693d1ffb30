"""The predicted final error of a gap between two full passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..deepcache.responses import Responses


class GapCosts:
    """Prices gaps by what was measured: output errors under the forecast, times what the sampler makes of them.

    Within a gap errors point the same way and add up before they are squared; between gaps they are taken to be
    independent, so that a schedule's error is the sum over its gaps.
    """

    def __init__(self, responses: Mapping[int, Responses], gains: Sequence[float]) -> None:
        self.evaluations = len(gains)
        self.branches = tuple(sorted(responses))
        self._responses = responses
        self._gains = gains
        self.price = lru_cache(maxsize=None)(self._price)

    def reach(self, branch: int, previous: int | None, last: int, at: int) -> float:
        """The fitted reach of the forecast; 0 behind a single full pass."""
        return 0.0 if previous is None else self._responses[branch].reach(at, previous, last)

    def _price(self, branch: int, previous: int | None, last: int, until: int) -> float:
        """Mean squared final error of reuse passes between full passes at `last` and `until`, cut at `branch`."""
        responses, total = self._responses[branch], 0.0
        for at in range(last + 1, until):
            earliest = last if previous is None else previous
            if not responses.covers(at, earliest):
                return float("inf")
            reach = self.reach(branch, previous, last, at)
            total += float(self._gains[at]) * responses.error(at, previous, last, reach) ** 0.5
        return total * total

    def total(self, full: Sequence[int], branch: int) -> float:
        """Predicted mean squared final error of a schedule with one branch."""
        ends = (*full[1:], self.evaluations)
        before: list[int | None] = [None, *full[:-1]]
        return sum(self.price(branch, p, last, end) for p, last, end in zip(before, full, ends, strict=True))
