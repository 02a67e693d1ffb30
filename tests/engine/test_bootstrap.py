from __future__ import annotations

import json
import math

import numpy as np
import pytest

from skipstep.engine.bootstrap import median_estimate


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        low, high = median_estimate(generator.normal(5, 2, (30, 1)).tolist(), seed=trial).interval or (0, 0)
        hits += low <= 5 <= high
    assert 180 <= hits <= 199  # 190 expected; four standard deviations are 12


def test_seeds_of_one_prompt_are_not_counted_as_independent() -> None:
    prompts = np.random.default_rng(0).normal(40, 5, 24)
    doubled = median_estimate([[value, value] for value in prompts])
    single = median_estimate([[value] for value in prompts])
    wrong = median_estimate([[value] for value in prompts for _ in range(2)])  # as if there were twice as many
    assert doubled.interval == single.interval
    assert doubled.interval is not None
    assert wrong.interval is not None
    assert np.diff(wrong.interval) < 0.9 * np.diff(doubled.interval)


def test_a_seed_fixes_the_interval() -> None:
    values = [[value] for value in np.random.default_rng(0).normal(size=20)]
    assert median_estimate(values, seed=1) == median_estimate(values, seed=1)
    assert len({median_estimate(values, seed=seed).interval for seed in range(10)}) > 1


def test_one_cluster_has_no_interval() -> None:
    estimate = median_estimate([[1.0, 3.0]])
    assert (estimate.median, estimate.interval, estimate.lowest, estimate.highest) == (2, None, 1, 3)
    assert estimate.as_dict()["interval_95"] is None


def test_infinite_values_give_no_nan_and_no_infinity_in_json() -> None:
    mixed = median_estimate([[40.0, math.inf], [41.0, math.inf], [42.0, 43.0], [math.inf, math.inf]])
    assert mixed.median == math.inf  # four of eight are infinite, and so the mean of the middle two
    assert mixed.interval is not None
    assert not any(map(math.isnan, mixed.interval))
    assert mixed.interval[0] < mixed.interval[1] == math.inf
    assert mixed.lowest == 40
    written = json.loads(json.dumps(mixed.as_dict(), allow_nan=False))
    assert written == {"median": None, "interval_95": [mixed.interval[0], None], "lowest": 40.0, "highest": None}


@pytest.mark.parametrize("values", [[[5.0, 5.0], [5.0, 5.0]], [[math.inf], [math.inf], [math.inf]]])
def test_equal_values_have_an_interval_of_no_width(values: list[list[float]]) -> None:
    estimate = median_estimate(values)
    assert estimate.interval == (values[0][0], values[0][0])
