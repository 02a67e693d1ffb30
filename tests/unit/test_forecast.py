"""What stands in for the deep features at an evaluation that does not compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstep.deepcache import FeatureHistory, LinearForecast, Position, QuadraticForecast, VerbatimForecast
from skipstep.errors import OptionError

START, SLOPE = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.25, 4.0, -1.0])  # exact in float32


def line(evaluation: int) -> Tensor:
    return START + SLOPE * evaluation


def history_of(*evaluations: int, size: int = 2) -> FeatureHistory:
    history = FeatureHistory(size)
    for evaluation in evaluations:
        history.add(Position(evaluation), line(evaluation))
    return history


def test_a_history_keeps_the_latest_and_counts_their_bytes() -> None:
    history = FeatureHistory(2)
    assert (len(history), history.device_bytes) == (0, 0)
    for evaluation in range(3):
        history.add(Position(evaluation), line(evaluation).to(torch.float16))
    assert [at.evaluation for at, _ in history] == [1, 2]
    assert torch.equal(history[-1][1], line(2).half())
    assert (history.device_bytes, history.host_bytes) == (2 * 3 * 2, 0)


def test_verbatim_is_the_latest_tensor_itself() -> None:
    history = history_of(0, 3, size=VerbatimForecast().history_size)
    assert VerbatimForecast().predict(history, Position(5)) is history[-1][1]
    assert len(history) == 1


@pytest.mark.parametrize(("previous", "last", "at"), [(0, 2, 3), (0, 4, 5), (4, 8, 11), (2, 4, 4), (3, 4, 5)])
def test_linear_is_exact_on_features_that_are_linear_in_the_evaluation(previous: int, last: int, at: int) -> None:
    forecast = LinearForecast()
    history = history_of(previous, last, size=forecast.history_size)
    before = [features.clone() for _, features in history]
    assert torch.equal(forecast.predict(history, Position(at)), line(at))
    assert not torch.equal(line(at), line(at + 1))
    assert all(torch.equal(features, was) for (_, features), was in zip(history, before, strict=True))


def test_linear_goes_no_farther_than_the_two_were_apart() -> None:
    history = history_of(3, 5, size=2)
    assert torch.equal(LinearForecast().predict(history, Position(12)), line(7))


def test_linear_is_verbatim_behind_a_single_full_pass() -> None:
    history = history_of(4)
    assert LinearForecast().predict(history, Position(6)) is history[-1][1]


def test_linear_keeps_the_type_of_the_features() -> None:
    history = FeatureHistory(2)
    for evaluation in (0, 2):
        history.add(Position(evaluation), line(evaluation).to(torch.bfloat16))
    assert LinearForecast().predict(history, Position(3)).dtype == torch.bfloat16


def test_a_position_grows_along_either_coordinate() -> None:
    early, late = Position(2, log_sigma=1.5), Position(5, log_sigma=-0.5)
    assert (early.along("evaluation"), late.along("evaluation")) == (2.0, 5.0)
    assert (early.along("log_sigma"), late.along("log_sigma")) == (-1.5, 0.5)
    assert Position(2).along("log_sigma") is None


LEVELS = (2.5, 2.0, 0.5, 0.25, -1.0, -1.25, -3.0)  # uneven, and exact in float32


def along_levels(features: Callable[[float], Tensor], *evaluations: int, size: int = 3) -> FeatureHistory:
    history = FeatureHistory(size)
    for evaluation in evaluations:
        history.add(Position(evaluation, LEVELS[evaluation]), features(LEVELS[evaluation]))
    return history


@pytest.mark.parametrize(("previous", "last", "at"), [(0, 1, 1), (1, 2, 3), (0, 2, 4), (2, 4, 5)])
def test_linear_in_log_sigma_is_exact_on_features_that_are(previous: int, last: int, at: int) -> None:
    history = along_levels(lambda level: START + SLOPE * level, previous, last)
    where = Position(at, LEVELS[at])
    expected = START + SLOPE * LEVELS[at]
    assert torch.allclose(LinearForecast("log_sigma").predict(history, where), expected, rtol=0, atol=1e-5)
    by_index = LinearForecast().predict(history, where)
    assert torch.allclose(by_index, expected, rtol=0, atol=1e-2) is (at == last)


def test_linear_in_log_sigma_goes_no_farther_than_the_two_were_apart() -> None:
    history = along_levels(lambda level: START + SLOPE * level, 2, 3)
    assert torch.equal(LinearForecast("log_sigma").predict(history, Position(6, LEVELS[6])), START)  # a level of 0


@pytest.mark.parametrize("forecast", [LinearForecast("log_sigma"), QuadraticForecast("log_sigma", damping=1.0)])
@pytest.mark.parametrize("levels", [(None, None, None, None), (2.0, 1.0, 1.0, 0.5), (2.0, 1.0, 0.5, None)])
def test_where_the_noise_levels_do_not_tell_the_evaluation_counts(forecast: Any, levels: Any) -> None:
    history = FeatureHistory(3)
    for evaluation, level in zip((0, 1, 4), levels, strict=False):
        history.add(Position(evaluation, level), line(evaluation))
    made = forecast.predict(history, Position(6, levels[3]))
    assert torch.allclose(made, line(6), rtol=0, atol=1e-5)


def test_an_unknown_coordinate_or_damping_is_refused() -> None:
    for forecast in (LinearForecast, QuadraticForecast):
        with pytest.raises(OptionError, match="coordinate must be evaluation or log_sigma, got 'sigma'"):
            forecast("sigma")
    for damping in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match=rf"damping must be 0\.\.1, got {damping}; 0\.5 is usual"):
            QuadraticForecast(damping=damping)
