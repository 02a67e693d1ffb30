"""What a comparison over many pictures found: one row a candidate, one case a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from PIL import Image

from .bootstrap import Estimate, finite, median_estimate
from .request import ImageRequest

ENOUGH_PROMPTS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """One picture against the uncached one of the same prompt and seed. Ratios are uncached over this row's."""

    prompt: str
    seed: int
    latent_psnr: float  # dB
    psnr: float  # dB, pixels
    ssim: float
    latent_relative_error: float
    lpips: float | None  # None where it could not be measured
    flop_ratio: float  # of the UNet evaluations
    time_ratio: float  # of the sampling loop

    def as_dict(self) -> dict[str, Any]:
        """Plain enough for JSON; the PSNR of equal pictures is None, since JSON has no infinity."""
        numbers = {name: finite(value) if isinstance(value, float) else value for name, value in vars(self).items()}
        return {**numbers, "identical": math.isinf(self.psnr)}


@dataclass(frozen=True, kw_only=True)
class Row:
    """All cases of one candidate, or of the plain model with fewer steps at a candidate's cost.

    `source` says where a candidate's options are from. `passes` has one letter per evaluation, F full and r reuse, of
    the first case. `equal_cost` names the fewer-steps row that costs what this candidate does, and is None where that
    would be the uncached run itself. `stands_for` names, in a fewer-steps row, the candidates that it was made for.
    Cases come prompt by prompt.
    """

    name: str
    steps: int
    passes: str
    seeds: int
    cases: tuple[Case, ...]
    source: str = ""
    equal_cost: str | None = None
    stands_for: tuple[str, ...] = ()

    @property
    def is_candidate(self) -> bool:
        """Whether it was asked for, and not added as a fewer-steps row."""
        return not self.stands_for

    @property
    def flop_ratio(self) -> float:
        """The most that the row can gain, by FLOPs: the uncached run's over its own."""
        return median(case.flop_ratio for case in self.cases)

    @property
    def identical(self) -> int:
        """How many pictures equal the uncached ones in every pixel."""
        return sum(math.isinf(case.psnr) for case in self.cases)

    def estimate(self, figure: str) -> Estimate | None:
        """Median, interval and extremes of a figure of `Case`; None where it was not measured."""
        values = [getattr(case, figure) for case in self.cases]
        return None if None in values else self._estimate(values)

    def gain_over(self, other: Row) -> Estimate:
        """By how many dB of latent PSNR this row is ahead of `other`, picture by picture; negative where behind."""
        pairs = zip(self.cases, other.cases, strict=True)
        return self._estimate([_ahead(one.latent_psnr, two.latent_psnr) for one, two in pairs])

    def _estimate(self, values: list[float]) -> Estimate:
        return median_estimate([values[i : i + self.seeds] for i in range(0, len(values), self.seeds)])


def _ahead(one: float, other: float) -> float:
    return 0.0 if one == other else one - other  # two infinities have no difference


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A column of the report: a figure of `Case`, its unit and how it is written."""

    key: str
    heading: str
    decimals: int
    higher_is_better: bool

    def worst(self, estimate: Estimate) -> float:
        """The worst single case."""
        return estimate.lowest if self.higher_is_better else estimate.highest


FIGURES = (
    Figure(key="time_ratio", heading="time ratio", decimals=2, higher_is_better=True),
    Figure(key="latent_psnr", heading="latent PSNR, dB", decimals=1, higher_is_better=True),
    Figure(key="psnr", heading="PSNR, dB", decimals=1, higher_is_better=True),
    Figure(key="ssim", heading="SSIM", decimals=4, higher_is_better=True),
    Figure(key="latent_relative_error", heading="latent error", decimals=4, higher_is_better=False),
    Figure(key="lpips", heading="LPIPS", decimals=4, higher_is_better=False),
)


@dataclass(frozen=True, kw_only=True)
class PicturePair:
    """A case among the worst, to be looked at."""

    row: str
    case: Case
    reference: Image.Image
    image: Image.Image


@dataclass(frozen=True, kw_only=True)
class QualityResult:
    """Everything that was measured and what it was measured on."""

    model: str
    device: str
    dtype: str
    request: ImageRequest  # complete; its prompt, seed and cache mean nothing
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline_passes: str
    baseline_loop_s: float  # median
    rows: tuple[Row, ...]
    worst: tuple[PicturePair, ...]

    def row(self, name: str) -> Row:
        """The row called `name`."""
        return next(row for row in self.rows if row.name == name)

    def gain(self, row: Row) -> Estimate | None:
        """The candidate against fewer steps at equal cost, in dB of latent PSNR; None where there is no such row."""
        return None if row.equal_cost is None else row.gain_over(self.row(row.equal_cost))

    def as_dict(self) -> dict[str, Any]:
        """All figures, plain enough for JSON; infinite ones are None."""
        return {
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "against": "baseline",
            "steps": self.request.steps,
            "sampler": self.request.sampler,
            "guidance_scale": self.request.guidance_scale,
            "negative_prompt": self.request.negative_prompt,
            "width": self.request.width,
            "height": self.request.height,
            "prompts": list(self.prompts),
            "seeds": list(self.seeds),
            "baseline": {"passes": self.baseline_passes, "loop_s": self.baseline_loop_s},
            "rows": [self._row_as_dict(row) for row in self.rows],
        }

    def _row_as_dict(self, row: Row) -> dict[str, Any]:
        gain = self.gain(row)
        figures = {figure.key: row.estimate(figure.key) for figure in FIGURES}
        return {
            "name": row.name,
            "source": row.source,
            "kind": "candidate" if row.is_candidate else "fewer steps",
            "steps": row.steps,
            "passes": row.passes,
            "full_passes": row.passes.count("F"),
            "reuse_passes": row.passes.count("r"),
            "flop_ratio": row.flop_ratio,
            "equal_cost": row.equal_cost,
            "stands_for": list(row.stands_for),
            "identical": row.identical,
            "gain_over_fewer_steps_db": None if gain is None else gain.as_dict(),
            **{key: None if value is None else value.as_dict() for key, value in figures.items()},
            "cases": [case.as_dict() for case in row.cases],
        }
