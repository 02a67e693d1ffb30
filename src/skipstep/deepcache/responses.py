"""What the UNet's output suffers when its deep features come from elsewhere, and the slopes that follow."""

from __future__ import annotations

from dataclasses import dataclass, field

from .calibrated import MAX_REACH, SlopeTable
from .forecast import straight_reach

TRUSTED = (0.4, 0.65)  # explained share of the verbatim error from which a fit counts, and from which it is all

Matrix = list[list[float]]


@dataclass
class Responses:
    """Inner products of output errors, summed over runs.

    `inner[i][a][b]` belongs to evaluation i: the product of the errors that its output has when the deep features are
    verbatim those of evaluation i - 1 - a, and of evaluation i - 1 - b, per element of the output. Errors of forecasts
    follow from these to first order, since a forecast is a weighted sum of stored features whose weights sum to 1.
    """

    branch: int
    log_sigmas: tuple[float, ...] | None
    inner: list[Matrix] = field(default_factory=list)
    runs: int = 0

    def add(self, inner: list[Matrix]) -> None:
        """Count one more run of as many evaluations."""
        if not self.runs:
            self.inner = inner
        else:
            pairs = zip(self.inner, inner, strict=True)
            self.inner = [
                [[x + y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)] for a, b in pairs
            ]
        self.runs += 1

    def error(self, evaluation: int, previous: int | None, last: int, reach: float) -> float:
        """Mean squared output error at `evaluation` of F_last + reach * (F_last - F_previous)."""
        inner, near = self.inner[evaluation], evaluation - 1 - last
        verbatim = inner[near][near]
        if previous is None or not reach:
            return verbatim / self.runs
        far = evaluation - 1 - previous
        cross = verbatim - inner[far][near]
        spread = verbatim - 2 * inner[far][near] + inner[far][far]
        return max(verbatim + 2 * reach * cross + reach * reach * spread, 0.0) / self.runs

    def reach(self, evaluation: int, previous: int, last: int) -> float:
        """The fitted reach, leaning to the straight line's where the fit explains little.

        A fit to noise is shorter than the straight line, and a shrunk forecast errs to the same side at every
        evaluation, which adds up in the latent; a straight line's errors cancel (docs/forecast.md).
        """
        straight = straight_reach(last - previous, evaluation - last)
        inner, near, far = self.inner[evaluation], evaluation - 1 - last, evaluation - 1 - previous
        verbatim = inner[near][near]
        spread = verbatim - 2 * inner[far][near] + inner[far][far]
        if verbatim <= 0 or spread <= 0:
            return straight
        fitted = (inner[far][near] - verbatim) / spread
        explained = 1 - self.error(evaluation, previous, last, fitted) * self.runs / verbatim
        trust = min(max((explained - TRUSTED[0]) / (TRUSTED[1] - TRUSTED[0]), 0.0), 1.0)
        reach = straight + trust * (fitted - straight)
        return min(max(reach, 0.0), MAX_REACH * straight)

    def covers(self, evaluation: int, earlier: int) -> bool:
        """Whether features of `earlier` were tried at `evaluation`."""
        return evaluation - 1 - earlier < len(self.inner[evaluation])

    def slope_table(self, width: int = 8) -> SlopeTable:
        """Fitted factors on the straight line's reach for gaps up to `width`."""
        count = len(self.inner)
        return SlopeTable(
            branch=self.branch,
            log_sigmas=self.log_sigmas or (),
            factors={
                (gap, ahead): tuple(self._factor(index, gap, ahead) for index in range(count))
                for gap in range(1, width + 1)
                for ahead in range(1, width + 1)
            },
        )

    def _factor(self, evaluation: int, gap: int, ahead: int) -> float | None:
        previous = evaluation - ahead - gap
        if previous < 0 or not self.covers(evaluation, previous):
            return None
        return self.reach(evaluation, previous, evaluation - ahead) / straight_reach(gap, ahead)
