"""A plan on the run it is for, on others like it, and on those it must not be used for."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import pytest
from diffusers import EulerDiscreteScheduler
from models import NOISE

from skipstep import DeepCache
from skipstep.deepcache._noise import log_sigmas
from skipstep.deepcache.calibrated import CalibratedForecast, PlannedSlopes
from skipstep.engine.samplers import new_scheduler
from skipstep.errors import PlanError
from skipstep.plan import Fingerprint, Plan, is_exact, plan_options

MODEL = Fingerprint("0123", (0.5, 0.25))
FULL = (0, 1, 3, 6, 10, 13, 17, 20, 24, 27, 29)


def levels_of(sampler: str, steps: int) -> tuple[float, ...]:
    scheduler = new_scheduler(sampler, EulerDiscreteScheduler(**NOISE).config)
    scheduler.set_timesteps(steps)
    levels = log_sigmas(scheduler)
    assert levels is not None
    return levels


def plan_of(full: tuple[int, ...] = FULL, steps: int = 30, sampler: str = "euler", factor: float = 0.6) -> Plan:
    """A plan whose slopes are `factor` times the straight line's; early reuse passes cut at 2, late ones at 0."""
    levels = levels_of(sampler, steps)
    count = len(levels)
    passes = tuple(None if i in full else 2 if i < count // 2 else 0 for i in range(count))
    slopes = {}
    for at, branch in enumerate(passes):
        behind = [index for index in full if index < at]
        if branch is not None and len(behind) > 1:
            previous, last = behind[-2:]
            slopes[branch, previous, last, at] = factor * min((at - last) / (last - previous), 1.0)
    return Plan(
        model="some-model",
        fingerprint=MODEL,
        family="sdxl",
        sampler=sampler,
        steps=steps,
        passes=passes,
        log_sigmas=levels,
        slopes=PlannedSlopes(slopes),
    )


def full_of(options: DeepCache) -> list[int]:
    assert options.passes is not None
    return [index for index, branch in enumerate(options.passes) if branch is None]


def slopes_of(options: DeepCache) -> PlannedSlopes:
    assert isinstance(options.forecast, CalibratedForecast)
    assert isinstance(options.forecast.slopes, PlannedSlopes)
    return options.forecast.slopes


@pytest.mark.parametrize("sampler", ["euler", "euler_a", "lms levels"])
def test_on_its_own_noise_levels_it_is_the_plan_itself(sampler: str) -> None:
    plan = plan_of()
    levels = [level + 1e-4 for level in plan.log_sigmas] if " " in sampler else levels_of(sampler, 30)
    assert is_exact(plan, levels)
    options = plan_options(plan, model=MODEL, log_sigmas=levels)
    assert options == DeepCache(passes=plan.passes, forecast=CalibratedForecast(plan.slopes))
    assert slopes_of(options).reaches


@pytest.mark.parametrize("steps", [29, 31])
def test_other_noise_levels_are_not_exact(steps: int) -> None:
    plan = plan_of()
    assert not is_exact(plan, levels_of("euler", steps))
    assert not is_exact(plan, levels_of("dpmpp_2m_karras", 30))
    assert not is_exact(plan, [level + 0.01 for level in plan.log_sigmas])


def test_a_heun_plan_is_the_plan_itself_on_its_own_run() -> None:
    plan = plan_of(sampler="heun", steps=15)
    assert plan_options(plan, model=MODEL, log_sigmas=levels_of("heun", 15)).passes == plan.passes


@pytest.mark.parametrize(("full", "ends_full"), [(FULL, True), ((0, 2, 5, 9, 13, 18, 23), False), ((0, 1), False)])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "dpmpp_2m_karras", "ddim"])
@pytest.mark.parametrize("steps", [12, 20, 29, 30, 50, 75])
def test_the_share_and_the_ends_are_kept(full: tuple[int, ...], ends_full: bool, sampler: str, steps: int) -> None:
    levels = levels_of(sampler, steps)
    options = plan_options(plan_of(full), model=MODEL, log_sigmas=levels)
    assert options.passes is not None
    found = full_of(options)
    assert len(options.passes) == steps
    tolerance = 1 if sampler == "euler" else 2  # the others begin or end at other noise levels
    assert abs(len(found) - max(len(full) * steps / 30, 2)) <= tolerance  # two at least, for a line
    assert found[0] == 0
    assert (found[-1] == steps - 1) == ends_full


@pytest.mark.parametrize("steps", [20, 50])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_full_passes_are_near_their_noise_levels(sampler: str, steps: int) -> None:
    """As many full passes lie before any noise level as the plan has there, to one and a half."""
    plan, levels = plan_of(), levels_of(sampler, steps)
    found = full_of(plan_options(plan, model=MODEL, log_sigmas=levels))
    share = len(found) / len(FULL)
    for level in (1.5, 0.5, 0.0, -0.5, -1.0):
        planned = bisect_left([-value for value in plan.log_sigmas], -level)
        run = bisect_left([-value for value in levels], -level)
        expected = share * sum(index < planned for index in FULL)
        assert abs(sum(index < run for index in found) - expected) <= 1.5


@pytest.mark.parametrize("steps", [20, 50])
def test_branches_and_slopes_follow(steps: int) -> None:
    plan, levels = plan_of(), levels_of("euler", steps)
    options = plan_options(plan, model=MODEL, log_sigmas=levels)
    assert options.passes is not None
    border = plan.log_sigmas[15]
    for branch, level in zip(options.passes, levels, strict=True):
        if branch is not None and abs(level - border) > 0.3:
            assert branch == (2 if level > border else 0)
    full, reaches = full_of(options), slopes_of(options).reaches
    expected = {}
    for at, branch in enumerate(options.passes):
        behind = [index for index in full if index < at]
        if branch is not None and len(behind) > 1:
            previous, last = behind[-2:]
            expected[branch, previous, last, at] = pytest.approx(0.6 * min((at - last) / (last - previous), 1.0))
    assert reaches == expected
    assert len({round(reach, 3) for reach in reaches.values()}) > 1


def test_a_plan_without_slopes_is_followed_without() -> None:
    plan = replace(plan_of(), slopes=PlannedSlopes({}))
    assert slopes_of(plan_options(plan, model=MODEL, log_sigmas=levels_of("euler", 20))).reaches == {}


def test_a_plan_of_full_passes_stays_one() -> None:
    plan = plan_of(tuple(range(30)))
    for steps in (20, 50):
        options = plan_options(plan, model=MODEL, log_sigmas=levels_of("euler", steps))
        assert options.passes == (None,) * steps
    for steps in (1, 2):
        options = plan_options(plan_of((0,), steps=1), model=MODEL, log_sigmas=levels_of("euler", steps))
        assert options.passes == (None,) * steps


def test_a_run_that_begins_late_keeps_to_the_plan_from_there() -> None:
    """Image to image: the same noise levels without the first ones."""
    plan = plan_of((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 23, 29))
    options = plan_options(plan, model=MODEL, log_sigmas=plan.log_sigmas[14:])
    assert full_of(options) == [0, 8, 15]  # evaluations 14, 22 and 29 of the plan, which has three there


def test_another_model_is_refused() -> None:
    other = Fingerprint("0123", (0.5, 0.75))
    with pytest.raises(PlanError, match=r"^the plan was measured on another model \(some-model\); make one for this"):
        plan_options(plan_of(), model=other, log_sigmas=plan_of().log_sigmas)


@pytest.mark.parametrize("steps", [3, 11, 76, 100])
def test_far_numbers_of_steps_are_refused(steps: int) -> None:
    message = f"^the plan is for 30 evaluations and the run has {steps}; a plan can be stretched to 12..75. Make one"
    with pytest.raises(PlanError, match=message):
        plan_options(plan_of(), model=MODEL, log_sigmas=levels_of("euler", steps))


@pytest.mark.parametrize("planned", [1, 2, 3, 5, 7, 11, 23])
def test_the_range_in_the_message_is_the_one_that_holds(planned: int) -> None:
    plan = plan_of((0,), steps=planned)

    def line(count: int) -> tuple[float, ...]:
        return tuple(2.0 - index / count for index in range(count))

    with pytest.raises(PlanError, match="stretched to") as error:
        plan_options(plan, model=MODEL, log_sigmas=line(200))
    least, most = map(int, str(error.value).split("stretched to ")[1].split(".", 3)[:3:2])
    for count in (least, most):
        assert len(full_of(plan_options(plan, model=MODEL, log_sigmas=line(count)))) >= 1
    for count in (least - 1, most + 1):
        with pytest.raises(PlanError, match="stretched to"):
            plan_options(plan, model=MODEL, log_sigmas=line(count))


@pytest.mark.parametrize("sampler", ["heun", "pndm"])
def test_samplers_that_repeat_a_noise_level_are_refused(sampler: str) -> None:
    repeated = "visits a noise level twice .* needs a plan of its own: `skipstep plan`"
    with pytest.raises(PlanError, match=repeated):
        plan_options(plan_of(), model=MODEL, log_sigmas=levels_of(sampler, 15))
    own = plan_of(sampler=sampler, steps=15)
    with pytest.raises(PlanError, match=f"^the plan is for {sampler} at 15 steps; a sampler that {repeated}"):
        plan_options(own, model=MODEL, log_sigmas=levels_of("euler", 20))
    with pytest.raises(PlanError, match=repeated):
        plan_options(own, model=MODEL, log_sigmas=levels_of(sampler, 14))
