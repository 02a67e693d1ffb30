"""A median and how far it can be trusted: percentile bootstrap over clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A median over all cases, in the unit of the cases, with its 95 % interval.

    The interval is None where there is only one cluster: one prompt says nothing of others. `lowest` and `highest`
    are single cases.
    """

    median: float
    interval: tuple[float, float] | None
    lowest: float
    highest: float

    def as_dict(self) -> dict[str, Any]:
        """Plain enough for JSON, where infinite figures are None."""
        interval = None if self.interval is None else [finite(bound) for bound in self.interval]
        return {
            "median": finite(self.median),
            "interval_95": interval,
            "lowest": finite(self.lowest),
            "highest": finite(self.highest),
        }


def median_estimate(clusters: Sequence[Sequence[float]], *, seed: int = 0) -> Estimate:
    """The median of all values, with the percentile bootstrap interval of `RESAMPLES` draws of whole clusters.

    A cluster is what is not independent of itself: the seeds of one prompt. All have the same number of values.
    Values may be infinite, not NaN. The same values and `seed` give the same interval.
    """
    values = np.asarray(clusters, np.float64)
    assert values.ndim == 2
    assert values.size
    assert not np.isnan(values).any()
    interval = None
    if len(values) > 1:
        drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
        medians = np.sort(np.median(values[drawn].reshape(RESAMPLES, -1), axis=1))
        tail = (1 - LEVEL) / 2 * (RESAMPLES - 1)  # by rank: interpolating between infinities gives NaN
        interval = float(medians[math.floor(tail)]), float(medians[RESAMPLES - 1 - math.floor(tail)])
    return Estimate(
        median=float(np.median(values)), interval=interval, lowest=float(values.min()), highest=float(values.max())
    )


def finite(value: float | None) -> float | None:
    """The value, or None where it is infinite: JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None
