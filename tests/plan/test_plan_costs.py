"""Prices of gaps, against forecasts whose error vectors are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from toys import INFINITE, responses_of

from skipstep.plan import GapCosts

GAINS = (3.0, 2.0, 1.5, 1.0, 0.5, 0.25, 0.125)


def error(at: int, source: int) -> Tensor:
    """The output error at `at` with features of `source`: a random walk's way from there to here."""
    steps = torch.randn(len(GAINS), 30, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    drift = torch.linspace(1, 2, 30, dtype=torch.float64)  # so that a straight line explains a part
    return -(steps[source:at] * 0.4 + drift).sum(0)


@pytest.fixture
def costs() -> GapCosts:
    return GapCosts({2: responses_of(error, len(GAINS), window=5, branch=2)}, GAINS)


def by_hand(costs: GapCosts, previous: int | None, last: int, until: int) -> float:
    total = 0.0
    for at in range(last + 1, until):
        vector = error(at, last)
        if previous is not None:
            reach = costs.reach(2, previous, last, at)
            vector = (1 + reach) * vector - reach * error(at, previous)
        total += GAINS[at] * float(vector.square().mean().sqrt())
    return total**2


@pytest.mark.parametrize(("previous", "last", "until"), [(None, 0, 4), (0, 2, 5), (1, 3, 4), (0, 1, 3), (2, 3, 7)])
def test_a_gap_costs_what_its_forecasts_miss(costs: GapCosts, previous: int | None, last: int, until: int) -> None:
    expected = by_hand(costs, previous, last, until)
    assert costs.price(2, previous, last, until) == pytest.approx(expected, rel=1e-9)
    assert (expected > 0) == (until > last + 1)


def test_forecasts_reach_ahead_behind_two_full_passes_only(costs: GapCosts) -> None:
    assert costs.reach(2, None, 0, 2) == 0
    assert 0 < costs.reach(2, 0, 2, 3) < 1
    assert costs.price(2, 0, 2, 4) < by_hand(costs, None, 2, 4)  # than verbatim


def test_runs_are_averaged(costs: GapCosts) -> None:
    twice = responses_of(error, len(GAINS), window=5, branch=2)
    twice.add(twice.inner)
    assert GapCosts({2: twice}, GAINS).price(2, 0, 2, 5) == pytest.approx(costs.price(2, 0, 2, 5))


def test_gaps_that_were_not_measured_have_no_price(costs: GapCosts) -> None:
    assert costs.price(2, None, 0, 6) < INFINITE  # evaluation 5 tried the features of 0
    assert costs.price(2, None, 0, 7) == INFINITE
    assert costs.price(2, 0, 3, 6) < INFINITE
    assert costs.price(2, 0, 3, 7) == INFINITE  # evaluation 6 knows nothing of 0
    assert costs.price(2, 0, 6, 7) == 0  # and need not


def test_a_schedule_costs_the_sum_of_its_gaps(costs: GapCosts) -> None:
    expected = by_hand(costs, None, 0, 2) + by_hand(costs, 0, 2, 3) + by_hand(costs, 2, 3, 7)
    assert costs.total((0, 2, 3), 2) == pytest.approx(expected, rel=1e-9)
    assert costs.total(tuple(range(7)), 2) == 0
    assert (costs.evaluations, costs.branches) == (7, (2,))
