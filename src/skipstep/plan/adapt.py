"""Fits a plan to the run at hand, exactly or by interpolation in log-sigma, or refuses."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from ..deepcache import DeepCache
from ..deepcache.calibrated import CalibratedForecast, PlannedSlopes
from ..deepcache.forecast import straight_reach
from ..errors import PlanError
from .file import Plan
from .fingerprint import Fingerprint

SAME = 2e-3  # log-sigma
RANGE = (0.4, 2.5)  # evaluations of the run over those of the plan


def plan_options(plan: Plan, *, model: Fingerprint, log_sigmas: Sequence[float]) -> DeepCache:
    """The options that follow the plan on a run with these noise levels.

    With the plan's own noise levels they are the plan itself. Otherwise the full passes are moved to where their
    noise levels are, in as large a share of the evaluations, the last one kept last; slopes follow as factors on the
    straight line's.

    Raises:
        PlanError: if the plan is for another model, or the run is too unlike what was measured.
    """
    if not plan.fingerprint.matches(model):
        raise PlanError(
            f"the plan was measured on another model ({plan.model}); make one for this with `skipstep plan`"
        )
    if is_exact(plan, log_sigmas):
        return DeepCache(passes=plan.passes, forecast=CalibratedForecast(plan.slopes))
    count, planned = len(log_sigmas), len(plan.passes)
    least, most = math.ceil(RANGE[0] * planned), math.floor(RANGE[1] * planned)
    if not least <= count <= most:
        raise PlanError(
            f"the plan is for {planned} evaluations and the run has {count}; a plan can be stretched to "
            f"{least}..{most}. Make one for this with `skipstep plan`"
        )
    if len(set(plan.log_sigmas)) < planned or len(set(log_sigmas)) < count:
        raise PlanError(
            f"the plan is for {plan.sampler} at {plan.steps} steps; a sampler that visits a noise level twice "
            "(heun, pndm) needs a plan of its own: `skipstep plan`"
        )
    places = [_place(level, plan.log_sigmas) for level in log_sigmas]
    full = _moved(plan.full_evaluations, places, planned)
    passes: list[int | None] = [plan.passes[_reusing(plan, place)] for place in places]
    for index in range(count):
        if index in full or passes[index] is None:
            passes[index] = None if index in full else min(_branches(plan))
    return DeepCache(passes=tuple(passes), forecast=CalibratedForecast(_stretched(plan, passes, places)))


def is_exact(plan: Plan, log_sigmas: Sequence[float]) -> bool:
    """Whether a run visits the noise levels that the plan was measured at."""
    return len(log_sigmas) == len(plan.log_sigmas) and all(
        abs(one - two) < SAME for one, two in zip(log_sigmas, plan.log_sigmas, strict=True)
    )


def _place(level: float, planned: Sequence[float]) -> float:
    """The (fractional) planned evaluation with this noise level; the nearest end beyond them."""
    descending = [-value for value in planned]
    index = bisect_left(descending, -level)
    if index == 0 or index == len(planned):
        return float(min(index, len(planned) - 1))
    low, high = descending[index - 1], descending[index]
    return index - 1 + (-level - low) / (high - low)


def _moved(full: Sequence[int], places: Sequence[float], planned: int) -> frozenset[int]:
    """The evaluations nearest to as many points along the plan's full passes as keep their share.

    A run that begins late or ends early (image to image) keeps the share of the part that it visits.
    """
    count = len(places)
    start, end = _along(full, places[0]), _along(full, places[-1])
    share = (end - start + 1) / (places[-1] - places[0] + 1)
    wanted = min(max(2, round(share * count)), count) if len(full) > 1 else 1
    chosen = {0}
    for index in range(1, wanted):
        along = start + index * (end - start) / (wanted - 1)
        low = int(along)
        high = min(low + 1, len(full) - 1)
        target = full[low] + (full[high] - full[low]) * (along - low)
        free = [evaluation for evaluation in range(count) if evaluation not in chosen]
        chosen.add(min(free, key=lambda evaluation: abs(places[evaluation] - target)))
    if full[-1] == planned - 1 and count - 1 not in chosen:
        chosen = {0, *sorted(chosen)[:-1], count - 1}
    return frozenset(chosen)


def _along(full: Sequence[int], place: float) -> float:
    """The (fractional) number of the full pass at a place; that of the last one behind it."""
    index = bisect_right(full, place) - 1
    if index == len(full) - 1:
        return float(index)
    return index + (place - full[index]) / (full[index + 1] - full[index])


def _branches(plan: Plan) -> set[int]:
    return {branch for branch in plan.passes if branch is not None} or {0}


def _reusing(plan: Plan, place: float) -> int:
    """The reuse pass of the plan nearest to a place; any if it has none."""
    reusing = [index for index, branch in enumerate(plan.passes) if branch is not None]
    return min(reusing, key=lambda index: abs(index - place)) if reusing else 0


def _stretched(plan: Plan, passes: Sequence[int | None], places: Sequence[float]) -> PlannedSlopes:
    """Slopes for the moved schedule: the straight line's reach times the plan's factor at the nearest evaluations."""
    factors = [
        (evaluation, reach / straight_reach(last - previous, evaluation - last))
        for (_, previous, last, evaluation), reach in plan.slopes.reaches.items()
    ]
    reaches: dict[tuple[int, int, int, int], float] = {}
    full = [index for index, branch in enumerate(passes) if branch is None]
    for index, branch in enumerate(passes):
        before = [evaluation for evaluation in full if evaluation < index]
        if branch is None or len(before) < 2 or not factors:
            continue
        previous, last = before[-2], before[-1]
        near = sorted(factors, key=lambda item: abs(item[0] - places[index]))[:3]
        factor = sum(value for _, value in near) / len(near)
        reaches[branch, previous, last, index] = factor * straight_reach(last - previous, index - last)
    return PlannedSlopes(reaches)
