"""The options: what is refused, and the schedule that each asks for."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from itertools import combinations
from typing import Any

import pytest

from skipstep import DeepCache
from skipstep.deepcache import (
    AdaptiveSchedule,
    CalibratedForecast,
    LinearForecast,
    PlannedSlopes,
    QuadraticForecast,
    VerbatimForecast,
)
from skipstep.errors import OptionError, ScheduleError, SkipstepError


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"interval": 0}, ScheduleError, "interval must be 1 or more, got 0"),
        ({"branch": -1}, OptionError, "branch must be 0 or more, got -1; 0 is fastest"),
        (
            {"forecast": "cubic"},
            OptionError,
            "forecast must be verbatim, linear, linear_log_sigma, quadratic, quadratic_log_sigma, calibrated or have "
            "history_size and predict, got 'cubic'",
        ),
        ({"power": 1.0}, ScheduleError, r"power must be above 1 and at most 10\.0, got 1\.0"),
        ({"power": float("nan")}, ScheduleError, "got nan"),
        ({"power": 1e17}, ScheduleError, "at most 10"),
        ({"center": -1}, ScheduleError, "center must be an evaluation index from 0, got -1"),
        ({"interval": 2.5}, OptionError, "interval must be a whole number, got 2.5"),
        ({"branch": True}, OptionError, "branch must be a whole number, got True"),
        ({"full_evaluations": (0, 2.5)}, OptionError, "full_evaluations must be a whole number, got 2.5"),
        ({"forecast": None}, OptionError, "forecast must be verbatim, linear, .* or have .* got None"),
        ({"full_evaluations": (0,), "center": 3}, OptionError, "both say when to run in full; give one of them"),
        ({"full_evaluations": ()}, ScheduleError, "non-empty list of indices"),
        ({"start_step": 1, "end_percent": 0.5}, OptionError, "in steps and in percent; give one of the two"),
        ({"end_step": 5, "start_percent": 0.5}, OptionError, "in steps and in percent; give one of the two"),
        ({"start_percent": 0.5, "end_percent": 0.5}, OptionError, r"0 <= start < end <= 1, got 0\.5 and 0\.5"),
        ({"start_percent": 1.0}, OptionError, r"0 <= start < end <= 1, got 1\.0 and 1\.0"),
        ({"start_percent": -0.1}, OptionError, r"got -0\.1 and 1\.0"),
        ({"end_percent": 1.1}, OptionError, r"got 0\.0 and 1\.1"),
        ({"end_percent": 0.0}, OptionError, r"got 0\.0 and 0\.0"),
        ({"start_step": -1}, OptionError, "0 <= start < end, got -1 and None"),
        ({"start_step": 5, "end_step": 5}, OptionError, "0 <= start < end, got 5 and 5"),
        ({"end_step": 0}, OptionError, "0 <= start < end, got 0 and 0"),
        ({"spacing": "even"}, OptionError, "spacing must be uniform, spread or late, got 'even'"),
        ({"passes": (0, None)}, ScheduleError, "a plan must begin with a full pass"),
        ({"passes": ()}, ScheduleError, "a plan must begin with a full pass"),
        ({"passes": (None, -1)}, ScheduleError, "branches of a plan must be 0 or more"),
        ({"passes": (None, 1.5)}, OptionError, "passes must be a whole number, got 1.5"),
        (
            {"feature_dtype": "float8"},
            OptionError,
            "feature_dtype must be same, float16 or bfloat16, got 'float8'",
        ),
        ({"feature_dtype": None}, OptionError, "feature_dtype must be same, float16 or bfloat16, got None"),
        ({"feature_device": "cuda"}, OptionError, "feature_device must be same or cpu, got 'cuda'"),
        ({"feature_device": "cpu", "prefetch": 1}, OptionError, "prefetch must be true or false, got 1"),
        (
            {"prefetch": False},
            OptionError,
            "prefetch is about features in host memory, and feature_device is 'same'; leave prefetch out, or use "
            "feature_device 'cpu'",
        ),
        ({"tolerance": 0.0}, ScheduleError, r"tolerance must be above 0, got 0\.0"),
        ({"tolerance": float("nan")}, ScheduleError, "tolerance must be above 0, got nan"),
    ],
)
def test_a_value_out_of_range_is_refused(options: dict[str, Any], kind: type[SkipstepError], message: str) -> None:
    with pytest.raises(kind, match=message) as error:
        DeepCache(**options)
    assert isinstance(error.value, ValueError)


def test_options_are_frozen_and_named() -> None:
    options = DeepCache(interval=2)
    with pytest.raises(FrozenInstanceError):
        options.interval = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        DeepCache(2)  # type: ignore[misc]
    assert options == DeepCache(interval=2) != DeepCache()


def test_the_options_are_plain_enough_for_json() -> None:
    options = DeepCache(forecast="verbatim", feature_dtype="float16", feature_device="cpu", prefetch=False)
    assert DeepCache(**json.loads(json.dumps(vars(options)))) == options


def test_the_forecast_is_made_from_its_name_or_taken_as_it_is() -> None:
    own = VerbatimForecast()
    assert isinstance(DeepCache().new_forecast(), LinearForecast)
    assert isinstance(DeepCache(forecast="verbatim").new_forecast(), VerbatimForecast)
    assert DeepCache(forecast=own).new_forecast() is own
    assert DeepCache(forecast="linear_log_sigma").new_forecast() == LinearForecast("log_sigma")
    assert DeepCache(forecast="quadratic").new_forecast() == QuadraticForecast()
    assert DeepCache(forecast="quadratic_log_sigma").new_forecast() == QuadraticForecast("log_sigma")


def test_the_calibrated_forecast_is_the_straight_line_until_it_has_slopes() -> None:
    slopes, options = PlannedSlopes({}), DeepCache(forecast="calibrated")
    assert options.new_forecast() == LinearForecast()
    assert options.new_forecast(slopes) == CalibratedForecast(slopes)
    assert DeepCache(forecast="linear").new_forecast(slopes) == LinearForecast()  # asks for none


WAYS: dict[str, Any] = {
    "center": 3,
    "full_evaluations": (0, 2),
    "spacing": "spread",
    "passes": (None, 0),
    "tolerance": 0.2,
}


@pytest.mark.parametrize(("one", "other"), [*combinations(WAYS, 2)])
def test_two_ways_of_saying_when_are_refused(one: str, other: str) -> None:
    with pytest.raises(OptionError, match=f"^{one} and {other} both say when to run in full; give one of them$"):
        DeepCache(**{one: WAYS[one], other: WAYS[other]})
    DeepCache(**{one: WAYS[one]})


@pytest.mark.parametrize("way", ["passes", "tolerance"])
@pytest.mark.parametrize("edge", [{"start_step": 1}, {"end_step": 4}, {"start_percent": 0.1}, {"end_percent": 0.9}])
def test_what_decides_for_the_whole_run_has_no_window(way: str, edge: dict[str, Any]) -> None:
    with pytest.raises(
        OptionError, match=f"^{way} decides for the whole run; leave the window of steps or percent out"
    ):
        DeepCache(**{way: WAYS[way], **edge})
    assert DeepCache(**edge).is_windowed
    assert not DeepCache(**{way: WAYS[way]}).is_windowed


def test_a_plan_of_several_branches_cannot_be_calibrated_on_one() -> None:
    with pytest.raises(OptionError, match=r"measures one branch, and the passes cut at \(0, 2\); give passes of one"):
        DeepCache(forecast="calibrated", passes=(None, 2, 0))
    DeepCache(forecast="calibrated", passes=(None, 2, 2))
    DeepCache(forecast=CalibratedForecast(PlannedSlopes({})), passes=(None, 2, 0))


def test_the_branches_are_those_of_the_plan_or_the_one() -> None:
    assert DeepCache(branch=3).branches == (3,)
    assert DeepCache(branch=3, passes=(None, 2, 0, None, 2)).branches == (0, 2)
    listed: Any = [None, 2, 0]
    assert DeepCache(passes=listed) == DeepCache(passes=(None, 2, 0))
    assert hash(DeepCache(passes=listed)) == hash(DeepCache(passes=(None, 2, 0)))


def test_tolerance_is_told_the_length_of_the_run() -> None:
    schedule = DeepCache(tolerance=0.3).schedule(evaluations=9)
    assert isinstance(schedule, AdaptiveSchedule)
    assert (schedule.tolerance, schedule.evaluations) == (0.3, 9)


@pytest.mark.parametrize(
    ("options", "order", "expected"),
    [
        ({}, 1, "FrrFrrFrrFrr"),
        ({"interval": 1}, 1, "FFFFFFFFFFFF"),
        ({"interval": 5}, 2, "FrrrrFrrrrFr"),
        ({"end_step": 4}, 1, "FrrFFFFFFFFF"),
        ({"start_step": 2}, 1, "FFFrrFrrFrrF"),
        ({"start_step": 2, "end_step": 4}, 2, "FFFFFrrFFFFF"),
        ({"start_step": 20}, 1, "FFFFFFFFFFFF"),
        ({"end_step": 20}, 1, "FrrFrrFrrFrr"),
        ({"start_percent": 0.25}, 1, "FFFFrrFrrFrr"),
        ({"end_percent": 0.5}, 1, "FrrFrrFFFFFF"),
        ({"start_percent": 0.5, "end_percent": 1.0}, 2, "FFFFFFFrrFrr"),
        ({"end_percent": 1.0}, 1, "FrrFrrFrrFrr"),
        ({"full_evaluations": (0, 1, 8)}, 1, "FFrrrrrrFrrr"),
        ({"full_evaluations": (1, 6)}, 1, "FFrrrrFrrrrr"),
        ({"full_evaluations": (1, 6), "start_step": 4, "end_step": 8}, 1, "FFFFFrFrFFFF"),  # of the run, not the window
        ({"spacing": "spread"}, 1, "FrrFrrrFrrrF"),
        ({"spacing": "spread", "interval": 12}, 1, "Frrrrrrrrrrr"),
        ({"spacing": "spread", "start_step": 2, "end_step": 10, "interval": 4}, 1, "FFFrrrrrrFFF"),
        ({"spacing": "spread", "start_percent": 0.5}, 1, "FFFFFFFrrrrF"),
        ({"spacing": "spread", "start_step": 2}, 2, "FFFFFrrFrrrF"),
        ({"spacing": "late"}, 1, "FrrrrrrFFFrr"),
        ({"spacing": "late", "interval": 12}, 1, "Frrrrrrrrrrr"),
        ({"spacing": "late", "start_step": 2, "end_step": 10, "interval": 4}, 1, "FFFrrrrFrrFF"),
        ({"spacing": "spread", "start_step": 12}, 1, "FFFFFFFFFFFF"),
        ({"spacing": "spread", "interval": 1}, 1, "FFFFFFFFFFFF"),
        ({"passes": (None, 2, 0, None, 1) + (None,) * 7}, 1, "FrrFrFFFFFFF"),
        ({"interval": 3, "center": 0, "power": 1.5}, 1, "FFrrFrrFrrrr"),  # 12 * (0, 1/4, 2/4, 3/4) ** 1.5
        ({"interval": 3, "center": 4, "start_step": 4}, 1, "FFFFFFrrFrrr"),  # 4 + 8 * (0, 1/3, 2/3) ** 1.4
    ],
)
def test_the_schedule_is_that_asked_for(options: dict[str, Any], order: int, expected: str) -> None:
    schedule = DeepCache(**options).schedule(evaluations=12, evaluations_per_step=order)
    assert "".join("F" if schedule.is_full(evaluation) else "r" for evaluation in range(12)) == expected


@pytest.mark.parametrize(
    "options", [{"end_percent": 0.5}, {"start_percent": 0.5}, {"center": 3}, {"spacing": "spread"}, {"spacing": "late"}]
)
def test_what_needs_the_length_of_the_run_says_so(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="does not say how many steps it runs; give the window in steps"):
        DeepCache(**options).schedule(evaluations=None)


@pytest.mark.parametrize("options", [{}, {"start_step": 2, "end_step": 8}, {"center": 3, "end_step": 8}])
def test_what_does_not_need_the_length_does_without(options: dict[str, Any]) -> None:
    unknown = DeepCache(**options).schedule(evaluations=None)
    known = DeepCache(**options).schedule(evaluations=12)
    assert [unknown.is_full(e) for e in range(12)] == [known.is_full(e) for e in range(12)]


def test_in_a_percent_window_shorter_than_a_step_nothing_is_reused() -> None:
    schedule = DeepCache(start_percent=0.20, end_percent=0.22).schedule(evaluations=10)
    assert all(map(schedule.is_full, range(10)))


def test_interval_1_is_full_whatever_else_is_asked() -> None:
    schedule = DeepCache(interval=1, center=5).schedule(evaluations=12)
    assert all(map(schedule.is_full, range(12)))
    schedule = DeepCache(interval=1, full_evaluations=(0, 2)).schedule(evaluations=12)
    assert [schedule.is_full(e) for e in range(4)] == [True, False, True, False]


def test_a_list_of_evaluations_is_taken_as_a_tuple() -> None:
    options: dict[str, Any] = {"full_evaluations": [0, 3]}
    assert DeepCache(**options) == DeepCache(full_evaluations=(0, 3))
    assert hash(DeepCache(**options)) == hash(DeepCache(full_evaluations=(0, 3)))


def test_a_center_outside_the_window_is_refused_when_the_run_begins() -> None:
    with pytest.raises(ScheduleError, match=r"center must be an evaluation of the window, 4\.\.9, got 1"):
        DeepCache(center=1, start_step=4).schedule(evaluations=10)
