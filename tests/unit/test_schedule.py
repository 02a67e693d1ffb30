"""When the full passes fall."""

from __future__ import annotations

from itertools import pairwise

import pytest

from skipstep.deepcache import (
    AdaptiveSchedule,
    ExplicitSchedule,
    PlannedSchedule,
    ReuseSchedule,
    UniformSchedule,
    WindowedSchedule,
    late_schedule,
    quadratic_schedule,
    spread_schedule,
)
from skipstep.deepcache.schedule import LearningSchedule, MixedSchedule
from skipstep.errors import ScheduleError


def passes(schedule: ReuseSchedule, evaluations: int) -> str:
    return "".join("F" if schedule.is_full(evaluation) else "r" for evaluation in range(evaluations))


@pytest.mark.parametrize(("interval", "expected"), [(1, "FFFFFF"), (2, "FrFrFr"), (3, "FrrFrr"), (9, "Frrrrr")])
def test_a_uniform_schedule_has_a_full_pass_every_interval(interval: int, expected: str) -> None:
    assert passes(UniformSchedule(interval), 6) == expected


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_below_1_is_refused(interval: int) -> None:
    with pytest.raises(ScheduleError, match=f"^interval must be 1 or more, got {interval}; 1 runs every pass in full$"):
        UniformSchedule(interval)


@pytest.mark.parametrize(("listed", "expected"), [((0, 3), "FrrFrr"), ((4, 2), "FrFrFr"), ((9,), "Frrrrr")])
def test_an_explicit_schedule_has_those_listed_and_the_first(listed: tuple[int, ...], expected: str) -> None:
    assert passes(ExplicitSchedule(listed), 6) == expected
    assert ExplicitSchedule(listed) == ExplicitSchedule(reversed(listed)) != ExplicitSchedule([*listed, 5])


@pytest.mark.parametrize("listed", [(), (3, -1)])
def test_an_explicit_schedule_needs_indices(listed: tuple[int, ...]) -> None:
    with pytest.raises(ScheduleError, match="non-empty list of indices from 0, got .*; give for example"):
        ExplicitSchedule(listed)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ((0, 8), "FrrFrrFr"),
        ((2, 7), "FFFrrFrF"),  # counted from the window's start
        ((3, 4), "FFFFFFFF"),
        ((3, 100), "FFFFrrFr"),
        ((2, 4, 2), "FFFFFrrF"),  # two evaluations a step
    ],
)
def test_outside_its_window_every_pass_is_full(window: tuple[int, ...], expected: str) -> None:
    assert passes(WindowedSchedule(UniformSchedule(3), *window), 8) == expected


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (-1, 2)])
def test_an_empty_window_is_refused(window: tuple[int, int]) -> None:
    with pytest.raises(ScheduleError, match=f"0 <= start < end, got start {window[0]} and end {window[1]}"):
        WindowedSchedule(UniformSchedule(3), *window)


def test_a_step_has_an_evaluation() -> None:
    with pytest.raises(ScheduleError, match="evaluations per step must be 1 or more, got 0"):
        WindowedSchedule(UniformSchedule(3), 0, 1, 0)


@pytest.mark.parametrize(
    ("evaluations", "full_passes", "center", "power", "expected"),
    [
        (16, 4, 0, 2.0, {0, 1, 4, 9}),  # roots 0, 1, 2, 3
        (20, 4, 4, 2.0, {0, 4, 5, 10}),  # roots -2, -0.5, 1, 2.5; truncated towards the center
        (10, 4, 5, 1.4, {0, 4, 5, 6}),  # roots -3.157, -1.578, 0, 1.578
        (10, 1, 5, 1.4, {0}),
        (9, 3, 8, 3.0, {0, 7, 8}),  # roots -2, -1, 0
    ],
)
def test_the_quadratic_schedule_is_that_of_the_paper(
    evaluations: int, full_passes: int, center: int, power: float, expected: set[int]
) -> None:
    assert quadratic_schedule(evaluations, full_passes, center=center, power=power) == ExplicitSchedule(expected)


def test_a_power_that_repeats_a_pass_is_lowered_until_none_is() -> None:
    lowered = quadratic_schedule(20, 8, center=10, power=4.0)  # at 4.0 five of eight fall on 9, 10 and 11
    assert len(lowered.full_evaluations) == 8
    assert min(lowered.full_evaluations) == 0
    assert max(lowered.full_evaluations) < 20
    assert lowered == quadratic_schedule(20, 8, center=10, power=3.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"full_passes": 0}, r"full passes must be 1\.\.10 for 10 evaluations, got 0"),
        ({"full_passes": 11}, r"full passes must be 1\.\.10 for 10 evaluations, got 11"),
        ({"center": 10}, r"center must be an evaluation index 0\.\.9, got 10"),
        ({"center": -1}, r"center must be an evaluation index 0\.\.9, got -1"),
        ({"power": 1.0}, r"power must be above 1, got 1\.0; 1\.4 is usual"),
        ({"full_passes": 10}, "no power above 1 gives 10 distinct evaluations of 10 around 5; ask for fewer"),
    ],
)
def test_a_quadratic_schedule_that_cannot_be_is_refused(arguments: dict[str, float], message: str) -> None:
    options = {"full_passes": 3, "center": 5, "power": 1.4, **arguments}
    with pytest.raises(ScheduleError, match=message) as error:
        quadratic_schedule(10, int(options["full_passes"]), center=int(options["center"]), power=options["power"])
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [((None,), "FFFF"), ((None, 0, 2, None), "FrrF"), ((None, 1), "FrFF"), ((None, None, 0, 0), "FFrr")],
)
def test_a_plan_says_what_each_evaluation_is_and_after_it_all_are_full(
    plan: tuple[int | None, ...], expected: str
) -> None:
    schedule = PlannedSchedule(plan)
    assert passes(schedule, 4) == expected
    assert passes(schedule, 6)[4:] == "FF"
    for evaluation, branch in enumerate(plan):
        if branch is not None:
            assert schedule.branch_at(evaluation) == branch


def test_the_branches_of_a_plan_are_those_in_use() -> None:
    assert PlannedSchedule((None, 4, 0, None, 4)).branches == (0, 4)
    assert PlannedSchedule((None, 3)).branches == (3,)
    assert PlannedSchedule((None, None)).branches == (0,)


@pytest.mark.parametrize("plan", [(), (0,), (2, None)])
def test_a_plan_begins_with_a_full_pass(plan: tuple[int | None, ...]) -> None:
    with pytest.raises(ScheduleError, match=r"a plan must begin with a full pass \(None\), got"):
        PlannedSchedule(plan)


def test_a_plan_has_no_negative_branch() -> None:
    with pytest.raises(ScheduleError, match=r"branches of a plan must be 0 or more, got \(None, 1, -1\)"):
        PlannedSchedule((None, 1, -1))


def test_which_schedules_mix_branches_and_which_watch_the_run() -> None:
    plain = [UniformSchedule(2), ExplicitSchedule([0]), WindowedSchedule(UniformSchedule(2), 0, 4)]
    assert isinstance(PlannedSchedule((None,)), MixedSchedule)
    assert isinstance(AdaptiveSchedule(0.2), LearningSchedule)
    assert not isinstance(PlannedSchedule((None,)), LearningSchedule)
    assert not any(isinstance(schedule, (MixedSchedule, LearningSchedule)) for schedule in plain)
    assert not isinstance(AdaptiveSchedule(0.2), MixedSchedule)


@pytest.mark.parametrize(
    ("evaluations", "full_passes", "expected"),
    [
        (10, 4, "FrrFrrFrrF"),
        (12, 4, "FrrFrrrFrrrF"),
        (5, 5, "FFFFF"),
        (7, 1, "Frrrrrr"),
        (7, 2, "FrrrrrF"),
        (1, 1, "F"),
    ],
)
def test_spread_full_passes_are_even_and_take_in_both_ends(evaluations: int, full_passes: int, expected: str) -> None:
    assert passes(spread_schedule(evaluations, full_passes), evaluations) == expected


def test_spread_full_passes_are_as_many_as_asked_for_and_their_gaps_alike() -> None:
    for evaluations in range(2, 40):
        for full_passes in range(2, evaluations + 1):
            chosen = sorted(spread_schedule(evaluations, full_passes).full_evaluations)
            gaps = [later - earlier for earlier, later in pairwise(chosen)]
            assert (len(chosen), chosen[0], chosen[-1]) == (full_passes, 0, evaluations - 1)
            assert max(gaps) - min(gaps) <= 1
            assert gaps == sorted(gaps)  # features change fastest at the beginning


@pytest.mark.parametrize(
    ("evaluations", "full_passes", "expected"),
    [
        (12, 5, "FrrrrrFFFFrr"),
        (12, 3, "FrrrrrrFFrrr"),
        (25, 6, "FrrrrrrrrrrrrFrFrFrFrFrrr"),
        (25, 11, "FrrrrrrrrrrrFFFFFFFFFFrrr"),
        (10, 1, "Frrrrrrrrr"),
        (10, 2, "FrrrrrFrrr"),
        (4, 4, "FFFF"),
        (3, 2, "FFr"),
    ],
)
def test_late_full_passes_are_around_seventy_percent(evaluations: int, full_passes: int, expected: str) -> None:
    assert passes(late_schedule(evaluations, full_passes), evaluations) == expected


def test_late_full_passes_are_as_many_as_asked_for() -> None:
    for evaluations in range(1, 40):
        for full_passes in range(1, evaluations + 1):
            chosen = late_schedule(evaluations, full_passes).full_evaluations
            assert len(chosen) == full_passes
            assert 0 in chosen
            assert max(chosen) < evaluations


@pytest.mark.parametrize("full_passes", [0, 11])
def test_full_passes_that_do_not_fit_are_not_spread(full_passes: int) -> None:
    with pytest.raises(ScheduleError, match=rf"full passes must be 1\.\.10 for 10 evaluations, got {full_passes}"):
        spread_schedule(10, full_passes)
    with pytest.raises(ScheduleError, match=r"full passes must be 1..10 for 10 evaluations"):
        late_schedule(10, full_passes)
