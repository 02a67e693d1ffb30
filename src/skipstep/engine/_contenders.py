"""The rows that a comparison measures: the candidates, and the plain model with fewer steps at their cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import OptionError, UnsupportedFeatureError
from .image import ImageEngine
from .quality_rows import Case, PicturePair
from .request import ImageRequest

WORST = 5


@dataclass
class Contender:
    """A row in the making."""

    name: str
    request: ImageRequest
    source: str = ""
    equal_cost: str | None = None
    stands_for: list[str] = field(default_factory=list)
    passes: str = ""
    cases: list[Case] = field(default_factory=list)
    worst: list[PicturePair] = field(default_factory=list)

    def keep_if_worst(self, pair: PicturePair) -> None:
        """Keep the pair if its latents are among the `WORST` farthest; equal ones are not worth a look."""
        if pair.case.latent_psnr < float("inf"):
            self.worst = sorted([*self.worst, pair], key=lambda kept: kept.case.latent_psnr)[:WORST]


def contenders_of(
    engine: ImageEngine, base: ImageRequest, candidates: Mapping[str, Any], drew: Callable[[str], None]
) -> list[Contender]:
    """Every candidate, each followed by the plain model with fewer steps at its cost unless that is there already.

    Each draws the picture of `base` to tell its cost; `drew` is told.
    """
    contenders: dict[str, Contender] = {}
    for name, cache in candidates.items():
        candidate = Contender(name, replace(base, cache=cache))
        made = engine.generate(candidate.request)
        drew(name)
        if not made.report.reuse_passes:  # a calibrated forecast measures in its first run, and costs less from then on
            made = engine.generate(candidate.request)
        report = made.report
        candidate.source = made.cache_source.replace(cache, name) if isinstance(cache, str) else made.cache_source
        if report.flop_ceiling is None:
            raise UnsupportedFeatureError(
                "the FLOPs of this model cannot be counted, so there is no equal cost to compare at; "
                "load it without sequential offloading"
            )
        contenders[name] = candidate
        steps = steps_at_equal_cost(base.steps, evaluations=report.evaluations, ceiling=report.flop_ceiling)
        if steps >= base.steps:
            continue
        fewer = f"{steps} uncached step{'s' if steps > 1 else ''}"
        if fewer in candidates:
            raise OptionError(f"a candidate must not be called {fewer!r}, as a fewer-steps row is; give another name")
        candidate.equal_cost = fewer
        contenders.setdefault(fewer, Contender(fewer, replace(base, steps=steps))).stands_for.append(name)
    return list(contenders.values())


def steps_at_equal_cost(steps: int, *, evaluations: int, ceiling: float) -> int:
    """How many steps of the plain model cost what a run of `steps` does whose FLOP ceiling is `ceiling`; 1 at least.

    With one evaluation a step this is steps / ceiling, rounded. Samplers with two leave one out at the end (Heun,
    DPM-2), and others begin with one more (PNDM): `evaluations`, those of the run, tell.
    """
    per_step = max(1, round(evaluations / steps))
    besides = evaluations - per_step * steps
    return max(1, round((evaluations / ceiling - besides) / per_step))
