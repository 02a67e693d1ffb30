"""The planner on a toy whose every cached run can be computed."""

from __future__ import annotations

import math
from itertools import combinations, pairwise
from typing import Any

import pytest
import torch
from toys import ForetoldBench, ToyModel, closeness, single_branch

from skipstep import DeepCache
from skipstep.deepcache.calibrated import CalibratedForecast
from skipstep.errors import ScheduleError
from skipstep.plan import Measured, Planner
from skipstep.plan.costs import GapCosts
from skipstep.plan.planner import REFINED_ON, TRIED
from skipstep.plan.search import best_schedules, schedule_work

COUNT = 9


def planner_for(toy: Any, *, window: int = 64, work: dict[int, float] | None = None, **options: Any) -> Planner:
    work = {0: 0.25} if work is None else work
    responses = {branch: toy.measured(branch, window) for branch in work}
    measured = Measured(responses=responses, gains=toy.gains, work=work)
    return Planner(toy, measured, closeness, **options)


def score(toy: ToyModel, passes: tuple[int | None, ...], forecast: Any = "linear") -> float:
    return closeness(toy.latents(DeepCache(interval=1)), toy.latents(DeepCache(passes=passes, forecast=forecast)))


def predicted(measured: Measured, full_passes: int) -> float:
    """Mean squared error that the search foretells of its best schedule; infinite where it has none."""
    found = best_schedules(GapCosts(measured.responses, measured.gains), full_passes, branch=0, width=1)
    return found[0].error if found else math.inf


def every(full_passes: int) -> list[tuple[int | None, ...]]:
    return [single_branch((0, *more), COUNT) for more in combinations(range(1, COUNT), full_passes - 1)]


@pytest.mark.parametrize("full_passes", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_all_schedules_is_found_where_errors_are_as_foretold(seed: int, full_passes: int) -> None:
    toy = ToyModel(COUNT, seed)
    responses = toy.measured(0, 64)
    bench = ForetoldBench(responses, toy.gains)
    planner = Planner(bench, Measured(responses={0: responses}, gains=toy.gains, work={0: 0.25}), closeness)
    exact = torch.zeros(1, COUNT)
    scores = {
        passes: closeness(exact, bench.latents(DeepCache(passes=passes, forecast=forecast)))
        for passes in every(full_passes)
        for forecast in [CalibratedForecast(planner.slopes(passes))]
    }
    known = max(scores, key=lambda passes: scores[passes])
    assert predicted(planner.measured, full_passes) == pytest.approx(COUNT * 10 ** (-scores[known] / 10), rel=1e-4)
    best = planner.best(full_passes)
    assert known in {trial.passes for trial in planner.trials}
    assert best.psnr >= scores[known] > sorted(scores.values())[-2]


@pytest.mark.parametrize("full_passes", [3, 4, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_is_among_the_best_of_all_schedules(seed: int, full_passes: int) -> None:
    """Here gaps are not independent, so that what is foretold is only about right."""
    toy = ToyModel(COUNT, seed)
    planner = planner_for(toy)
    best = planner.best(full_passes)
    straight = {passes: score(toy, passes) for passes in every(full_passes)}
    fitted = [score(toy, passes, CalibratedForecast(planner.slopes(passes))) for passes in straight]
    better = [value for value in (*straight.values(), *fitted) if value > best.psnr]
    assert len(better) <= 0.1 * 2 * len(straight)
    even = single_branch((index * COUNT // full_passes for index in range(full_passes)), COUNT)
    assert even in {trial.passes for trial in planner.trials}
    assert best.psnr > straight[even] + 1


def test_every_trial_is_kept_with_what_it_gave() -> None:
    toy, noted = ToyModel(COUNT), []
    planner = planner_for(toy, note=noted.append)
    assert toy.ran[-1] == (DeepCache(interval=1), 3)
    del toy.ran[:]
    best = planner.best(4)
    whole = [options for options, prompts in toy.ran if prompts == 3]
    assert REFINED_ON >= 3  # so the runs that fit slopes are among them
    assert [trial.options for trial in planner.trials if trial.slopes is None] == [
        options for options in whole if options.forecast == "linear"
    ]
    assert best in planner.trials
    assert best.psnr == max(trial.psnr for trial in planner.trials)
    for trial in planner.trials:
        assert closeness(toy.latents(DeepCache(interval=1)), toy.latents(trial.options)) == trial.psnr
        assert trial.work == schedule_work(trial.passes, {0: 0.25}) == 4 + 5 * 0.25
        assert trial.speedup == pytest.approx(COUNT / (4 + 5 * 0.25))
    straight = [trial for trial in planner.trials if trial.slopes is None]
    assert len(straight) <= TRIED + 2
    assert len({trial.passes for trial in straight}) == len(straight)
    assert noted.count("4 full passes") == len(planner.trials)
    assert noted.count("fitting slopes") == 1


def test_fitted_slopes_are_better_here_than_the_straight_line() -> None:
    planner = planner_for(ToyModel(COUNT, seed=1))
    best = planner.best(4)
    assert best.slopes is not None
    assert best.psnr > max(trial.psnr for trial in planner.trials if trial.slopes is None)


def test_the_prediction_is_that_of_the_best_proposal() -> None:
    measured = planner_for(ToyModel(COUNT)).measured
    errors = [predicted(measured, full_passes) for full_passes in range(1, COUNT + 1)]
    assert errors[-1] == 0
    assert all(fewer > more for fewer, more in pairwise(errors))
    assert predicted(planner_for(ToyModel(COUNT), window=2).measured, 1) == math.inf


def test_mixed_branches_are_tried_within_the_work_of_the_shallowest() -> None:
    planner = planner_for(ToyModel(COUNT), work={0: 0.25, 3: 0.3})  # deeper is hardly dearer here and much closer
    best = planner.best(3)
    assert any(3 in trial.passes for trial in planner.trials)
    assert 3 in best.passes
    assert all(trial.work <= 3 + 6 * 0.25 for trial in planner.trials)
    assert best.psnr > planner_for(ToyModel(COUNT)).best(3).psnr


def test_without_a_measured_gap_that_wide_evenly_spread_passes_are_tried() -> None:
    planner = planner_for(ToyModel(COUNT), window=2, work={0: 0.25, 3: 0.5})
    assert planner.best(2).passes in (single_branch((0, 8), COUNT), single_branch((0, 4), COUNT))


def test_a_run_in_full_is_exact_and_a_run_without_full_passes_is_refused() -> None:
    planner = planner_for(ToyModel(COUNT))
    assert planner.best(COUNT).psnr == closeness(torch.zeros(1), torch.zeros(1))
    for full_passes in (0, COUNT + 1):
        with pytest.raises(ScheduleError, match=f"full passes must be 1..9 for 9 evaluations, got {full_passes}"):
            planner.best(full_passes)


def test_slopes_are_those_of_reuse_passes_with_two_full_passes_behind_them() -> None:
    toy = ToyModel(COUNT)
    passes = (None, 0, None, 0, 3, None, None, 0, 0)
    found = planner_for(toy, work={0: 0.25, 3: 0.5}).slopes(passes).reaches
    assert set(found) == {(0, 0, 2, 3), (3, 0, 2, 4), (0, 5, 6, 7), (0, 5, 6, 8)}
    for (branch, previous, last, at), reach in found.items():
        assert reach == toy.measured(branch, 64).reach(at, previous, last) > 0
    narrow = planner_for(toy, work={0: 0.25, 3: 0.5}, window=3).slopes(passes).reaches
    assert narrow == {key: found[key] for key in [(0, 0, 2, 3), (0, 5, 6, 7), (0, 5, 6, 8)]}
    assert planner_for(toy).slopes((None, *(0,) * 8)).reaches == {}


class Still:
    """A bench whose latents are always the same."""

    def latents(self, options: DeepCache, *, prompts: int | None = None) -> torch.Tensor:
        return torch.zeros(1, 1)


def test_the_most_full_passes_are_the_last_that_keep_the_speed() -> None:
    for count in (1, 2, 7, 19, 20, 30, 50, 99):
        for reuse in (0.01, 0.13, 0.25, 0.31, 0.6, 0.85):
            measured = Measured(responses={}, gains=(1.0,) * count, work={0: reuse, 2: (1 + reuse) / 2})
            planner = Planner(Still(), measured, closeness)
            for speedup in (1.0, 1.1, 1.5, 2.0, 2.4, 3.0, 4.0, 7.0):
                full_passes = planner.most_full_passes(speedup)
                enough = [f for f in range(1, count + 1) if count / (f + (count - f) * reuse) >= speedup - 1e-5]
                assert max(full_passes, 0) == max(enough, default=0), (count, reuse, speedup)
