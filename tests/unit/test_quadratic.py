"""The damped parabola against polynomials, and the precision of all extrapolations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skipstep.deepcache import FeatureHistory, Forecast, LinearForecast, Position, QuadraticForecast
from skipstep.deepcache.forecast import extrapolate

GENERATOR = torch.Generator().manual_seed(0)
COEFFICIENTS = torch.randn(3, 64, generator=GENERATOR, dtype=torch.float64)
LEVELS = (2.5, 2.1, 0.6, 0.2, -1.0, -1.3, -3.0)


def parabola(place: float) -> Tensor:
    return COEFFICIENTS[0] + COEFFICIENTS[1] * place + COEFFICIENTS[2] * place * place


def position(evaluation: int, coordinate: str) -> Position:
    return Position(evaluation, LEVELS[evaluation] if coordinate == "log_sigma" else None)


def history_of(*evaluations: int, coordinate: str = "evaluation", dtype: torch.dtype = torch.float32) -> FeatureHistory:
    history = FeatureHistory(3)
    for evaluation in evaluations:
        at = position(evaluation, coordinate)
        place = at.along(coordinate)
        assert place is not None
        history.add(at, parabola(place).to(dtype))
    return history


@pytest.mark.parametrize("passes", [(0, 1, 2), (0, 2, 3), (0, 1, 4), (1, 3, 5)])
@pytest.mark.parametrize("coordinate", ["evaluation", "log_sigma"])
def test_undamped_it_is_exact_on_a_parabola_within_its_reach(passes: tuple[int, ...], coordinate: str) -> None:
    history = history_of(*passes, coordinate=coordinate)
    places = [place for at, _ in history if (place := at.along(coordinate)) is not None]
    at = position(passes[-1] + 1, coordinate)
    place = at.along(coordinate)
    assert place is not None
    reached = min(place, 2 * places[-1] - places[-2])  # no farther than the last two were apart
    made = QuadraticForecast(coordinate, damping=1.0).predict(history, at)
    assert torch.allclose(made.double(), parabola(reached), rtol=0, atol=1e-4)
    assert not torch.allclose(LinearForecast(coordinate).predict(history, at).double(), parabola(reached), atol=1e-2)


def test_damping_blends_the_line_and_the_parabola() -> None:
    history, at = history_of(0, 2, 5), Position(7)
    line = LinearForecast().predict(history, at)
    whole = QuadraticForecast(damping=1.0).predict(history, at)
    assert not torch.allclose(line, whole, atol=0.1)
    for damping in (0.0, 0.25, 0.5):
        made = QuadraticForecast(damping=damping).predict(history, at)
        assert torch.allclose(made, torch.lerp(line, whole, damping), rtol=0, atol=1e-4)
    assert QuadraticForecast().damping == 0.5


@pytest.mark.parametrize("passes", [(1,), (1, 3)])
def test_behind_fewer_than_three_it_is_the_line(passes: tuple[int, ...]) -> None:
    history, at = history_of(*passes), Position(4)
    assert torch.equal(QuadraticForecast().predict(history, at), LinearForecast().predict(history, at))


@pytest.mark.parametrize("levels", [(2.0, 2.0, 1.0, 0.5), (2.0, 1.5, 1.5, 0.5), (2.0, 1.5, 1.0, None), (None,) * 4])
def test_where_the_levels_do_not_tell_all_apart_the_evaluations_count(levels: tuple[float | None, ...]) -> None:
    history = FeatureHistory(3)
    for evaluation, level in zip((0, 1, 3), levels, strict=False):
        history.add(Position(evaluation, level), parabola(evaluation).float())
    made = QuadraticForecast("log_sigma", damping=1.0).predict(history, Position(4, levels[3]))
    assert torch.allclose(made.double(), parabola(4), rtol=0, atol=1e-4)


@pytest.mark.parametrize("forecast", [LinearForecast(), QuadraticForecast(), QuadraticForecast(damping=1.0)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_within_one_rounding_of_the_exact_value(forecast: Forecast, dtype: torch.dtype) -> None:
    history, at = history_of(1, 3, 5, dtype=dtype), Position(6)
    first, middle, last = (features.double() for _, features in history)
    damping = forecast.damping if isinstance(forecast, QuadraticForecast) else 0.0
    exact = (
        last + 0.5 * (last - middle) + damping * 1 * 3 * ((last - middle) / 2 - (middle - first) / 2) / 4
    )  # Newton's
    made = forecast.predict(history, at)
    assert made.dtype == dtype
    half_a_step = exact.abs() * torch.finfo(dtype).eps / 2
    noise = 1e-6 * (first.abs() + middle.abs() + last.abs())  # of float32
    assert ((made.double() - exact).abs() <= half_a_step + noise).all()
    assert ((made.double() - last).abs() > half_a_step + noise).any()


def test_nothing_stored_is_written_to() -> None:
    history = history_of(0, 2, 4)
    before = [features.clone() for _, features in history]
    made = QuadraticForecast().predict(history, Position(5))
    assert all(torch.equal(features, was) for (_, features), was in zip(history, before, strict=True))
    assert all(made.data_ptr() != features.data_ptr() for _, features in history)


@pytest.mark.parametrize("reach", [0.0, 0.3, 1.0, 2.0])
def test_extrapolation_goes_on_from_the_latter(reach: float) -> None:
    previous, last = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0])
    expected = torch.tensor([3 + 2 * reach, 1 - reach])
    assert torch.allclose(extrapolate(previous, last, reach), expected, rtol=0, atol=1e-6)


def test_at_the_noise_level_of_the_last_pass_it_is_that_pass() -> None:
    history = FeatureHistory(3)
    for evaluation in range(3):
        history.add(Position(evaluation, -float(evaluation)), torch.tensor([float(evaluation) ** 2]))
    forecast = QuadraticForecast("log_sigma")
    assert torch.equal(forecast.predict(history, Position(3, -2.0)), torch.tensor([4.0]))  # Heun evaluates twice there
    assert float(forecast.predict(history, Position(3, -2.5))) > 4
