"""The calibrated forecast: which slope is taken for three evaluations, and when it falls back to the straight line."""

from __future__ import annotations

import pytest
import torch

from skipstep.deepcache import (
    CalibratedForecast,
    CalibrationMemory,
    FeatureHistory,
    LinearForecast,
    PlannedSlopes,
    Position,
    Responses,
    RunShape,
    Slopes,
    SlopeTable,
    VerbatimForecast,
)

LEVELS = (4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0)
WIDTH = 3


def factor(gap: float, ahead: float, at: float) -> float:
    """Linear in all three, so that interpolation between whole numbers is exact."""
    return 1 + 0.1 * gap + 0.03 * ahead - 0.01 * at


TABLE = SlopeTable(
    branch=2,
    log_sigmas=LEVELS,
    factors={
        (gap, ahead): tuple(factor(gap, ahead, i) if i >= gap + ahead else None for i in range(len(LEVELS)))
        for gap in range(1, WIDTH + 1)
        for ahead in range(1, WIDTH + 1)
    },
)


def at(evaluation: int, level: float | None, branch: int = 2) -> Position:
    return Position(evaluation, level, branch)


def listed(evaluation: int) -> Position:
    return at(evaluation, LEVELS[evaluation])


@pytest.mark.parametrize(("gap", "ahead"), [(1, 1), (2, 1), (1, 2), (3, 3)])
def test_in_the_calibrated_run_it_is_the_tables_own_factor(gap: int, ahead: int) -> None:
    for last in range(gap, len(LEVELS) - ahead):
        reach = TABLE.reach(listed(last - gap), listed(last), listed(last + ahead))
        assert reach == pytest.approx(min(ahead / gap, 1.0) * factor(gap, ahead, last + ahead), abs=1e-9)


def test_another_number_of_steps_is_placed_between_the_calibrated_noise_levels() -> None:
    """Twice the steps: each is half a calibrated evaluation; and two thirds of them, with one and a half."""
    reach = TABLE.reach(at(3, 2.5), at(7, 0.5), at(10, -1.0))  # at 1.5, 3.5 and 5
    assert reach == pytest.approx(3 / 4 * factor(2, 1.5, 5), abs=1e-9)
    reach = TABLE.reach(at(1, 2.5), at(2, 1.0), at(3, -0.5))  # at 1.5, 3 and 4.5
    assert reach == pytest.approx(1 * factor(1.5, 1.5, 4.5), abs=1e-9)
    reach = TABLE.reach(at(4, 2.0), at(5, 1.5), at(6, 1.0))  # gaps of a half count as 1, the least that was tried
    assert reach == pytest.approx(1 * factor(1, 1, 3), abs=1e-9)


@pytest.mark.parametrize(
    ("previous", "last", "now"),
    [
        (at(0, 4.5), at(1, 3.0), at(2, 2.0)),  # noisier than any calibrated
        (at(4, 0.0), at(5, -1.0), at(6, -2.5)),  # and less noisy
        (at(0, 4.0), at(4, 0.0), at(5, -1.0)),  # a wider gap
        (at(0, 4.0), at(1, 3.0), at(5, -1.0)),
        (at(1, 3.0, 1), at(2, 2.0, 1), at(3, 1.0, 1)),  # of another branch
        (at(1, None), at(2, 2.0), at(3, 1.0)),
        (at(1, None), at(2, None), at(3, None)),
        (at(8, 2.0), at(9, 2.0), at(10, 1.0)),  # a level twice, in a run of other steps
        (at(8, 3.0), at(9, 2.0), at(10, 2.0)),
        (at(3, 4.0), at(4, 3.6), at(5, 3.2)),  # before the first that was tried
    ],
)
def test_where_nothing_was_fitted_there_is_no_slope(previous: Position, last: Position, now: Position) -> None:
    assert TABLE.reach(previous, last, now) is None
    history = history_of(previous, last)
    made = CalibratedForecast(TABLE).predict(history, now)
    assert torch.equal(made, LinearForecast().predict(history, now))
    assert CalibratedForecast(TABLE, VerbatimForecast()).predict(history, now) is history[-1][1]


def test_the_ends_of_the_range_are_in_it_but_for_rounding() -> None:
    exact = TABLE.reach(at(10, 0.0), at(11, -1.0), at(12, -2.0))
    assert exact == pytest.approx(factor(1, 1, 6), abs=1e-9)
    assert TABLE.reach(at(10, 0.0), at(11, -1.0), at(12, -2.00001)) == pytest.approx(exact, abs=1e-4)
    first = TABLE.reach(at(10, 4.0), at(11, 2.5), at(12, 1.0))
    assert TABLE.reach(at(10, 4.00001), at(11, 2.5), at(12, 1.0)) == pytest.approx(first, abs=1e-4)
    assert first is not None


def test_a_level_that_is_visited_twice_is_told_apart_in_the_calibrated_run() -> None:
    levels = (2.0, 1.0, 1.0, 0.0, 0.0)  # Heun
    rows: dict[tuple[int, int], tuple[float | None, ...]] = {(1, 1): (None, None, 0.5, 0.7, 0.9)}
    table = SlopeTable(branch=0, log_sigmas=levels, factors=rows)
    made = [
        table.reach(*(Position(i, levels[i]) for i in (evaluation - 2, evaluation - 1, evaluation)))
        for evaluation in (2, 3, 4)
    ]
    assert made == [0.5, 0.7, 0.9]


def test_without_noise_levels_the_evaluations_are_the_places() -> None:
    table = SlopeTable(branch=0, log_sigmas=(), factors={(1, 1): (None, None, 0.5), (2, 1): (None, None, None, 1.5)})
    assert table.reach(Position(0), Position(1), Position(2)) == 0.5
    assert table.reach(Position(0), Position(2), Position(3)) == 0.75  # half the gap before, times 1.5
    assert table.reach(Position(1), Position(2), Position(3)) is None


def history_of(*positions: Position) -> FeatureHistory:
    history = FeatureHistory(CalibratedForecast(TABLE).history_size)
    for index, position in enumerate(positions):
        history.add(position, torch.tensor([1.0 + index, 4.0 - 3 * index]))
    return history


def test_the_forecast_goes_as_far_along_the_line_as_the_slope_says() -> None:
    slopes = PlannedSlopes({(2, 1, 3, 4): 0.25, (2, 1, 3, 5): 0.0})
    history, forecast = history_of(listed(1), listed(3)), CalibratedForecast(slopes)
    assert torch.equal(forecast.predict(history, listed(4)), torch.tensor([2.25, 0.25]))
    assert torch.equal(forecast.predict(history, listed(5)), history[-1][1])  # 0 is a slope too
    assert torch.equal(forecast.predict(history, listed(6)), LinearForecast().predict(history, listed(6)))
    assert not torch.equal(forecast.predict(history, listed(6)), history[-1][1])


def test_behind_a_single_full_pass_it_is_verbatim() -> None:
    history = history_of(listed(0))
    assert CalibratedForecast(TABLE).predict(history, listed(1)) is history[-1][1]


def test_planned_slopes_are_those_of_exactly_their_evaluations() -> None:
    slopes: Slopes = PlannedSlopes({(2, 1, 3, 4): 0.25})
    assert slopes.reach(listed(1), listed(3), listed(4)) == 0.25
    assert slopes.reach(listed(2), listed(3), listed(4)) is None
    assert slopes.reach(*(at(i, LEVELS[i], branch=0) for i in (1, 3, 4))) is None


def test_runs_of_the_same_noise_levels_are_of_one_shape_whatever_the_sampler() -> None:
    shape = RunShape.of(0, 7, LEVELS, "Euler")
    assert shape == RunShape.of(0, 7, tuple(level + 1e-5 for level in LEVELS), "DPM")
    assert hash(shape) == hash(RunShape.of(0, 7, LEVELS, "DPM"))
    assert shape != RunShape.of(1, 7, LEVELS, "Euler")
    assert shape != RunShape.of(0, 7, tuple(level + 0.01 for level in LEVELS), "Euler")
    unknown = RunShape.of(0, 7, None, "Euler")
    assert unknown == RunShape.of(0, 7, None, "Euler")
    assert len({shape, unknown, RunShape.of(0, 7, None, "DPM"), RunShape.of(0, 6, None, "Euler")}) == 4


def test_the_memory_keeps_slopes_by_shape_of_run() -> None:
    memory, shape = CalibrationMemory(), RunShape.of(2, 3, LEVELS[:3], "Euler")
    assert memory.get(shape) is None
    responses = Responses(2, LEVELS[:3])
    responses.add([[], [[1.0]], [[1.0, 1.6], [1.6, 2.6]]])  # least at 0.6 / 0.4, where a tenth is left
    memory.put(shape, responses)
    kept = memory.get(shape)
    assert kept == responses.slope_table()
    assert kept is not None
    assert kept.reach(listed(0), listed(1), listed(2)) == pytest.approx(1.5)
    assert memory.get(RunShape.of(1, 3, LEVELS[:3], "Euler")) is None
    assert CalibrationMemory().get(shape) is None
