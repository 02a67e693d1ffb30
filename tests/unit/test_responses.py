"""What an uncached run measures of reuse, against errors computed directly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import TinyUNet
from torch import Tensor

from skipstep.deepcache import (
    CalibratedForecast,
    DeepCacheSession,
    DiffusersUNetSplit,
    Forecast,
    LinearForecast,
    QuadraticForecast,
    Responses,
    ResponseSession,
    UniformSchedule,
)
from skipstep.deepcache.calibrated import MAX_REACH

COUNT, SIZE = 7, 16


class LinearSplit:
    """Deep features that are listed by evaluation, and an output that is linear in them."""

    def __init__(self, features: Tensor) -> None:
        generator = torch.Generator().manual_seed(9)
        self.features = features.float()
        self.mix = torch.randn(SIZE, SIZE, generator=generator) / SIZE**0.5
        self.calls = 0

    def full(self, sample: Tensor, **_: Any) -> tuple[tuple[Tensor], Tensor]:
        features = self.features[self.calls]
        self.calls += 1
        return self.reuse(features, sample), features

    def reuse(self, features: Tensor, sample: Tensor, **_: Any) -> tuple[Tensor]:
        return ((self.mix @ features + sample.sin()).reshape(2, -1),)

    def error(self, evaluation: int, features: Tensor) -> float:
        """Mean squared output error if `features` stand in for those of `evaluation`."""
        return float((self.mix @ (features - self.features[evaluation])).double().square().mean())


def measured(split: LinearSplit, **options: Any) -> Responses:
    responses = Responses(0, None)
    session = ResponseSession(split, responses, **options)
    for evaluation in range(len(split.features)):
        session("key", torch.full((SIZE,), float(evaluation)))
    session.finish()
    return responses


def random_walk(seed: int = 0) -> Tensor:
    return torch.randn(COUNT, SIZE, generator=torch.Generator().manual_seed(seed)).cumsum(0)


@pytest.mark.parametrize("reach", [0.0, 0.4, 1.0, -0.5, 2.0])
def test_errors_of_any_forecast_follow_where_the_output_is_linear(reach: float) -> None:
    split = LinearSplit(random_walk())
    responses = measured(split)
    for evaluation in range(2, COUNT):
        for last in range(1, evaluation):
            for previous in range(last):
                taken = split.features[last] + reach * (split.features[last] - split.features[previous])
                expected = split.error(evaluation, taken)
                assert responses.error(evaluation, previous, last, reach) == pytest.approx(expected, rel=1e-4)
                assert expected > 0.01
    assert responses.error(3, None, 2, 1.0) == responses.error(3, 0, 2, 0.0)


def test_the_fitted_reach_has_the_least_error_where_it_explains_all() -> None:
    places = torch.arange(COUNT).double() ** 1.5  # on one line, at changing speed
    split = LinearSplit(torch.outer(places, torch.ones(SIZE).double()) + 0.01 * random_walk())
    responses = measured(split)
    for previous, last, evaluation in [(0, 1, 2), (1, 3, 4), (2, 3, 5), (3, 4, 6)]:
        reach = responses.reach(evaluation, previous, last)
        errors = {r: responses.error(evaluation, previous, last, r) for r in torch.linspace(0, 2, 401).tolist()}
        assert min(errors, key=errors.__getitem__) == pytest.approx(min(reach, 2.0), abs=0.0051)
        straight = min((evaluation - last) / (last - previous), 1.0)
        assert abs(reach - straight) > 0.02
    assert responses.reach(3, 1, 2) == pytest.approx(float((places[3] - places[2]) / (places[2] - places[1])), abs=0.05)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.0, 1.0, 4.0, 16.0], MAX_REACH * 1.0),  # fitted 4
        ([0.0, 0.0, 1.0, 0.2], 0.0),  # fitted -0.8
        ([5.0, 5.0, 5.0, 5.0], 1.0),  # nothing to go by
        ([5.0, 1.0, 1.0, 4.0], 1.0),  # the latest two are the same
    ],
)
def test_a_fit_that_goes_too_far_is_held_back(places: list[float], expected: float) -> None:
    split = LinearSplit(torch.outer(torch.tensor(places), torch.ones(SIZE)))
    assert measured(split).reach(3, 1, 2) == pytest.approx(expected, abs=1e-6)


def test_a_fit_to_noise_is_the_straight_line() -> None:
    noise = torch.randn(COUNT, 64 * SIZE, generator=torch.Generator().manual_seed(1))
    responses = Responses(0, None)
    products = [
        [[float((noise[a] - noise[e]) @ (noise[b] - noise[e])) for b in reversed(range(e))] for a in reversed(range(e))]
        for e in range(COUNT)
    ]
    responses.add(products)
    assert responses.error(4, 2, 3, -0.5) < responses.error(4, None, 3, 0)  # the fit: back to the mean
    assert [responses.reach(4, 2, 3), responses.reach(6, 1, 5), responses.reach(6, 2, 3)] == [1.0, 0.25, 1.0]


def test_runs_are_averaged_and_the_fit_is_of_all() -> None:
    one, other = LinearSplit(random_walk(0)), LinearSplit(random_walk(5))
    both, first, second = measured(one), measured(LinearSplit(one.features)), measured(other)
    both.add(second.inner)
    mean = (first.error(4, 1, 3, 0.5) + second.error(4, 1, 3, 0.5)) / 2
    assert both.error(4, 1, 3, 0.5) == pytest.approx(mean)
    assert both.runs == 2
    assert first.error(4, 1, 3, 0.5) != pytest.approx(mean)
    with pytest.raises(ValueError, match="zip"):
        both.add(second.inner[:-1])


def test_only_the_latest_features_are_tried() -> None:
    split = LinearSplit(random_walk())
    responses = measured(split, window=3)
    assert [len(matrix) for matrix in responses.inner] == [0, 1, 2, 3, 3, 3, 3]
    assert [responses.covers(5, earlier) for earlier in range(5)] == [False, False, True, True, True]
    assert responses.error(5, 2, 4, 1.0) == pytest.approx(measured(LinearSplit(split.features)).error(5, 2, 4, 1.0))


def test_the_slope_table_is_the_fit_over_the_straight_line() -> None:
    responses = measured(LinearSplit(random_walk()), window=4)
    responses.log_sigmas = tuple(2.0 - index for index in range(COUNT))
    table = responses.slope_table(width=3)
    assert (table.branch, table.log_sigmas) == (0, responses.log_sigmas)
    assert set(table.factors) == {(gap, ahead) for gap in (1, 2, 3) for ahead in (1, 2, 3)}
    for (gap, ahead), row in table.factors.items():
        for evaluation, factor in enumerate(row):
            if evaluation < gap + ahead or gap + ahead > 4:
                assert factor is None
            else:
                fitted = responses.reach(evaluation, evaluation - ahead - gap, evaluation - ahead)
                assert factor == pytest.approx(fitted / min(ahead / gap, 1.0))
    assert Responses(0, None, responses.inner, 1).slope_table().log_sigmas == ()


@torch.no_grad()
def test_on_a_unet_the_outputs_are_its_own_and_the_errors_those_of_reuse(tiny: TinyUNet) -> None:
    split, responses = DiffusersUNetSplit(tiny.unet, 2), Responses(2, None)
    session = ResponseSession(split, responses)
    calls = [tiny.inputs(seed) for seed in range(4)]
    for seed, (args, kwargs) in enumerate(calls):
        assert torch.equal(session("key", *args, **kwargs)[0], tiny(seed))
    features = [split.full(*args, **kwargs)[1] for args, kwargs in calls]
    assert session.cache_bytes == session.log.cache_bytes == sum(f.numel() * 4 for f in features)
    session.finish()
    for evaluation in (1, 2, 3):
        args, kwargs = calls[evaluation]
        for last in range(evaluation):
            error = split.reuse(features[last], *args, **kwargs)[0] - tiny(evaluation)
            assert responses.error(evaluation, None, last, 0) == pytest.approx(float(error.square().mean()), rel=1e-4)
            assert error.square().mean() > 1e-4
    session.close()
    assert session.cache_bytes == 0


READS = ("item", "tolist", "numpy", "__float__", "__int__", "__bool__", "__index__", "nonzero", "cpu")
FORECASTS = [LinearForecast(), LinearForecast("log_sigma"), QuadraticForecast()]


@pytest.mark.parametrize("forecast", [None, *FORECASTS, "calibrated"])
def test_no_evaluation_waits_for_the_device(forecast: Forecast | str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is the measuring run itself."""
    split = LinearSplit(random_walk())
    session: Any = ResponseSession(split, Responses(0, None))
    if isinstance(forecast, str):
        forecast = CalibratedForecast(measured(LinearSplit(split.features)).slope_table())
    if forecast is not None:
        session = DeepCacheSession(split, UniformSchedule(2), forecast)
    samples = [torch.full((SIZE,), float(evaluation)) for evaluation in range(COUNT)]

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a tensor was read")

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(Tensor, name, refuse)
        with pytest.raises(AssertionError, match="a tensor was read"):
            float(samples[0][0])
        for evaluation, sample in enumerate(samples):
            session("key", sample, log_sigma=3.0 - evaluation)
    assert session.log.kinds == ("F" * COUNT if forecast is None else "FrFrFrF")
