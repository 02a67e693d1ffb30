"""The searches find what trying every schedule finds."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import Any

import pytest
from toys import INFINITE, PriceTable

from skipstep.plan import best_mixed, best_schedules
from skipstep.plan.search import Candidate, distinct, schedule_work

WORK = {0: 0.3, 2: 0.55}


def every(costs: Any, full_passes: int, branches: tuple[int, ...]) -> list[Candidate]:
    """All schedules of finite error, with every choice of branch for the gaps that have a reuse pass."""
    found = []
    for chosen in combinations(range(1, costs.evaluations), full_passes - 1):
        full = (0, *chosen)
        ends = (*chosen, costs.evaluations)
        options = [branches if end - start > 1 else branches[:1] for start, end in zip(full, ends, strict=True)]
        for picked in product(*options):
            error = 0.0
            for gap, (branch, last, until) in enumerate(zip(picked, full, ends, strict=True)):
                error += costs.price(branch, full[gap - 1] if gap else None, last, until)
            if error < INFINITE:
                found.append(Candidate(error, full, picked))
    return sorted(found)


@pytest.mark.parametrize("infinite", [0.0, 0.3])
@pytest.mark.parametrize(("evaluations", "seed"), [(8, 0), (9, 1), (10, 2)])
def test_the_best_schedules_are_those_of_trying_all(evaluations: int, seed: int, infinite: float) -> None:
    costs: Any = PriceTable(evaluations, seed, infinite=infinite)
    for full_passes in range(1, evaluations + 1):
        expected = every(costs, full_passes, (0,))
        found = best_schedules(costs, full_passes, width=3)
        assert found[:3] == expected[:3]
        assert found == sorted(found)
        assert set(found) <= set(expected)
        assert all(len(set(candidate.full)) == full_passes and candidate.full[0] == 0 for candidate in found)
        assert best_schedules(costs, full_passes, width=10**6) == expected
    assert len({candidate.error for candidate in every(costs, 4, (0,))}) > 1


def test_the_branch_asked_for_is_priced() -> None:
    costs: Any = PriceTable(8, branches=(0, 5))
    found = best_schedules(costs, 3, branch=5)
    assert found[0] == every(costs, 3, (5,))[0]
    assert found[0].error != best_schedules(costs, 3)[0].error


@pytest.mark.parametrize("full_passes", [2, 5])
def test_no_schedule_is_found_where_none_was_measured(full_passes: int) -> None:
    costs: Any = PriceTable(8, infinite=1.0)
    assert best_schedules(costs, full_passes) == []
    assert best_schedules(costs, 8)[0].error == 0  # nothing is reused
    assert best_schedules(costs, 9) == []  # more full passes than evaluations


def hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The vertices of the lower left convex hull of (work, error), by work."""
    kept: list[tuple[float, float]] = []
    for work, error in sorted(points):
        if kept and error >= kept[-1][1]:
            continue
        while len(kept) > 1:
            (x0, y0), (x1, y1) = kept[-2:]
            if (y1 - y0) * (work - x0) < (error - y0) * (x1 - x0):
                break
            kept.pop()
        kept.append((work, error))
    return kept


@pytest.mark.parametrize("infinite", [0.0, 0.25])
@pytest.mark.parametrize("seed", range(4))
def test_mixed_branches_are_the_vertex_of_the_hull_below_the_budget(seed: int, infinite: float) -> None:
    costs: Any = PriceTable(7, seed, branches=(0, 2), infinite=infinite)
    candidates = [candidate for full in range(1, 8) for candidate in every(costs, full, (0, 2))]
    points = [(schedule_work(candidate.passes(7), WORK), candidate.error) for candidate in candidates]
    vertices = hull(points)
    assert len(vertices) > 2
    for budget in (2.9, 3.4, 4.0, 4.6, 5.2, 6.0, 7.0):
        reachable = [vertex for vertex in vertices if vertex[0] <= budget]
        found = best_mixed(costs, WORK, budget)
        assert all(schedule_work(candidate.passes(7), WORK) <= budget for candidate in found)
        assert found == sorted(found)
        assert [candidate.error for candidate in found[:1]] == [pytest.approx(error) for _, error in reachable[-1:]]
        assert all(candidate.error < INFINITE for candidate in found)


@pytest.mark.parametrize("seed", range(6))
def test_mixed_branches_are_no_worse_than_one_on_the_hull(seed: int) -> None:
    costs: Any = PriceTable(8, seed, branches=(0, 2))
    candidates = [candidate for full in range(1, 9) for candidate in every(costs, full, (0, 2))]
    vertices = hull([(schedule_work(candidate.passes(8), WORK), candidate.error) for candidate in candidates])
    compared = 0
    for full_passes in range(1, 9):
        single = best_schedules(costs, full_passes)[0]
        budget = schedule_work(single.passes(8), WORK)
        if any(abs(work - budget) < 1e-9 and abs(error - single.error) < 1e-9 for work, error in vertices):
            assert best_mixed(costs, WORK, budget)[0].error <= single.error
            compared += 1
    assert compared  # all full passes at least


def test_a_budget_below_any_run_finds_nothing() -> None:
    costs: Any = PriceTable(7, branches=(0, 2))
    assert best_mixed(costs, WORK, 1 + 6 * WORK[0] - 0.01) == []
    assert best_mixed(costs, WORK, 1 + 6 * WORK[0])[0].full == (0,)


def test_the_order_of_passes_makes_no_difference_to_their_work() -> None:
    orders = set(permutations((None, None, 0, 0, 2, 2)))
    (work,) = {schedule_work(passes, WORK) for passes in orders}
    assert work == pytest.approx(2 + 2 * 0.3 + 2 * 0.55)


def test_a_candidate_spells_out_its_passes() -> None:
    assert Candidate(0.0, (0, 1, 4), (0, 2, 7)).passes(6) == (None, None, 2, 2, None, 7)


def test_distinct_candidates_differ_in_two_full_passes() -> None:
    def candidate(*full: int) -> Candidate:
        return Candidate(0.0, full, (0,) * len(full))

    near, far, farther = candidate(0, 2, 5), candidate(0, 3, 6), candidate(0, 1, 7)
    listed = [candidate(0, 2, 4), near, far, farther]
    assert distinct(listed, 8, 5) == [listed[0].passes(8), far.passes(8), farther.passes(8)]
    assert distinct(listed, 8, 2) == [listed[0].passes(8), far.passes(8)]
