"""Makes a plan: measures the model, proposes schedules, runs the best for real, and reports on held-out prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from ..deepcache import DeepCache
from ..deepcache.calibrated import CalibratedForecast, PlannedSlopes
from ..deepcache.forecast import straight_reach
from ..deepcache.responses import Responses
from ..deepcache.schedule import spread_schedule
from .costs import GapCosts
from .refine import Key, refine
from .search import Candidate, Passes, best_mixed, best_schedules, distinct, schedule_work

TRIED = 6  # proposals run for real, for each number of full passes
REFINED_ON = 4  # prompts

Score = Callable[[Tensor, Tensor], float]  # reference and candidate latents (prompts, ...) to a median in dB


def print_nothing(text: str) -> None:
    """Listen to nothing."""


class Scores(Protocol):
    """Remembers the scores of trials by a name for what was run."""

    def get(self, key: str) -> float | None:
        """The score of a trial that was run before."""
        ...

    def put(self, key: str, score: float) -> None:
        """Remember one."""
        ...


class Bench(Protocol):
    """Runs the model on a fixed set of prompts and seeds."""

    def latents(self, options: DeepCache, *, prompts: int | None = None) -> Tensor:
        """Final latents (prompts, channels, height, width) in float32; of the first `prompts` if told."""
        ...


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a model, a sampler and a number of steps are like."""

    responses: dict[int, Responses]  # by branch
    gains: tuple[float, ...]  # per evaluation
    work: dict[int, float]  # of a reuse pass in full passes, by branch


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A schedule that was run for real on the search prompts."""

    passes: Passes
    slopes: PlannedSlopes | None  # None: the straight line
    work: float  # full-pass equivalents
    psnr: float  # median latent PSNR, dB

    @property
    def speedup(self) -> float:
        """By FLOPs."""
        return len(self.passes) / self.work

    @property
    def options(self) -> DeepCache:
        """The options that run it."""
        forecast: Any = "linear" if self.slopes is None else CalibratedForecast(self.slopes)
        return DeepCache(passes=self.passes, forecast=forecast)


class Planner:
    """Searches schedules of one run shape; every trial is kept in `trials`.

    `note` is told of every real run before it starts.
    """

    def __init__(
        self,
        bench: Bench,
        measured: Measured,
        score: Score,
        note: Callable[[str], None] = print_nothing,
        scores: Scores | None = None,
    ) -> None:
        self.measured = measured
        self.trials: list[Trial] = []
        self._bench = bench
        self._score = score
        self._note = note
        self._scores = scores
        self._best: dict[int, Trial] = {}
        self._costs = GapCosts(measured.responses, measured.gains)
        self._reference = bench.latents(DeepCache(interval=1))

    @property
    def evaluations(self) -> int:
        """UNet evaluations of a run."""
        return len(self.measured.gains)

    def most_full_passes(self, speedup: float) -> int:
        """How many full passes a run may have and still be `speedup` times as fast, with the shallowest reuse."""
        reuse, count = min(self.measured.work.values()), self.evaluations
        return int((count / speedup - count * reuse) / (1 - reuse) + 1e-6)

    def best(self, full_passes: int) -> Trial:
        """The best schedule with as much work as `full_passes` full passes and the shallowest reuse between them."""
        if full_passes not in self._best:
            self._best[full_passes] = self._search(full_passes)
        return self._best[full_passes]

    def _search(self, full_passes: int) -> Trial:
        shallowest = min(self.measured.work)
        proposals = best_schedules(self._costs, full_passes, branch=shallowest)
        passes = distinct(proposals, self.evaluations, TRIED)
        passes += self._uniform_ones(full_passes, shallowest)
        if len(self.measured.work) > 1:
            budget = schedule_work(passes[0], self.measured.work)
            mixed = best_mixed(self._costs, self.measured.work, budget)
            passes += [c.passes(self.evaluations) for c in mixed[:2] if set(c.branches) != {shallowest}]
        tried = [self._try(candidate, None) for candidate in dict.fromkeys(passes)]
        leaders = sorted(tried, key=lambda trial: trial.psnr, reverse=True)[:3]
        tried += [self._try(trial.passes, self.slopes(trial.passes)) for trial in leaders]
        return self._refined(max(tried, key=lambda trial: trial.psnr))

    def slopes(self, passes: Passes) -> PlannedSlopes:
        """The fitted slopes of a schedule, from the measured responses."""
        reaches: dict[Key, float] = {}
        for key in _keys(passes):
            branch, previous, last, at = key
            if self.measured.responses[branch].covers(at, previous):
                reaches[key] = self._costs.reach(branch, previous, last, at)
        return PlannedSlopes(reaches)

    def _uniform_ones(self, full_passes: int, branch: int) -> list[Passes]:
        """What anybody would try: evenly spread from the first evaluation to the last, and every n-th."""
        count = self.evaluations
        spread = sorted(spread_schedule(count, full_passes).full_evaluations)
        even = [index * count // full_passes for index in range(full_passes)]
        gaps = (branch,) * full_passes
        return [Candidate(0.0, tuple(full), gaps).passes(count) for full in (spread, even)]

    def _try(self, passes: Passes, slopes: PlannedSlopes | None) -> Trial:
        """Run a schedule for real."""
        work = schedule_work(passes, self.measured.work)
        trial = Trial(passes=passes, slopes=slopes, work=work, psnr=0.0)
        self._note(f"{sum(branch is None for branch in passes)} full passes")
        key = json.dumps([passes, sorted(slopes.reaches.items()) if slopes else None])
        psnr = None if self._scores is None else self._scores.get(key)
        if psnr is None:
            psnr = self._score(self._reference, self._bench.latents(trial.options))
            if self._scores is not None:
                self._scores.put(key, psnr)
        trial = replace(trial, psnr=psnr)
        self.trials.append(trial)
        return trial

    def _refined(self, trial: Trial) -> Trial:
        """The trial, or one with slopes fitted to its final latents if that is better on the search prompts."""
        start = {key: _straight(key) for key in _keys(trial.passes)}
        if trial.slopes is not None:
            start.update(trial.slopes.reaches)
        self._note("fitting slopes")

        def run(reaches: dict[Key, float]) -> Tensor:
            options = DeepCache(passes=trial.passes, forecast=CalibratedForecast(PlannedSlopes(reaches)))
            return self._bench.latents(options, prompts=REFINED_ON)

        fits = list(refine(start, run, self._reference[:REFINED_ON]))
        return max([trial, *(self._try(trial.passes, PlannedSlopes(fit)) for fit in fits)], key=lambda t: t.psnr)


def _keys(passes: Sequence[int | None]) -> list[Key]:
    """(branch, previous, last, evaluation) of every reuse pass with two full passes behind it."""
    full: list[int] = []
    keys: list[Key] = []
    for index, branch in enumerate(passes):
        if branch is None:
            full.append(index)
        elif len(full) > 1:
            keys.append((branch, full[-2], full[-1], index))
    return keys


def _straight(key: Key) -> float:
    _, previous, last, at = key
    return straight_reach(last - previous, at - last)
