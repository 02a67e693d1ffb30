"""Sessions that mix branches within a run, and what they tell their forecast."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import TinyUNet
from torch import Tensor

from skipstep.deepcache import (
    DeepCacheSession,
    DiffusersMixedSplit,
    DiffusersUNetSplit,
    FeatureHistory,
    LinearForecast,
    PlannedSchedule,
    Position,
    QuadraticForecast,
    UniformSchedule,
)


class At:
    """One branch of a toy, which notes what it is given."""

    def __init__(self, branch: int, reused: list[tuple[int, float]]) -> None:
        self.branch = branch
        self.reused = reused

    def full(self, sample: Tensor) -> tuple[Tensor, Tensor]:
        return sample, sample * 10**self.branch

    def reuse(self, features: Tensor, sample: Tensor) -> Tensor:
        self.reused.append((self.branch, float(features[0])))
        return sample


class Toy:
    """Deep features of branch b are the input times ten to the b."""

    def __init__(self, *branches: int) -> None:
        self.reused: list[tuple[int, float]] = []
        self.cuts = {branch: At(branch, self.reused) for branch in branches}

    def full(self, sample: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        return sample, {branch: cut.full(sample)[1] for branch, cut in self.cuts.items()}

    def at(self, branch: int) -> At:
        return self.cuts[branch]


def values(*numbers: float) -> list[Tensor]:
    return [torch.full((4,), float(number)) for number in numbers]


def test_every_reuse_pass_has_the_features_of_its_own_branch() -> None:
    split = Toy(0, 1, 3)
    session = DeepCacheSession(split, PlannedSchedule((None, 3, 0, None, 1, 3)), LinearForecast())
    for sample in values(1, 2, 3, 4, 5, 6, 7):
        session("key", sample)
    assert session.log.kinds == "FrrFrrF"  # beyond the plan all are full
    assert split.reused == [(3, 1000.0), (0, 1.0), (1, 50.0), (3, 6000.0)]  # from 1 and 4: at 5, and at 6


def test_keys_share_no_features_of_any_branch() -> None:
    split = Toy(0, 1)
    session = DeepCacheSession(split, PlannedSchedule((None, 1, 0)))
    for one, other in zip(values(1, 2, 3), values(5, 6, 7), strict=True):
        session("one", one)
        session("other", other)
    assert split.reused == [(1, 10.0), (1, 50.0), (0, 1.0), (0, 5.0)]


@pytest.mark.parametrize(("forecast", "tensors"), [(None, 1), (LinearForecast(), 2), (QuadraticForecast(), 3)])
def test_the_cache_holds_one_tensor_more_than_the_order_for_every_key_and_branch(forecast: Any, tensors: int) -> None:
    mixed = DeepCacheSession(Toy(0, 1, 3), PlannedSchedule((None,)), forecast)
    single = DeepCacheSession(At(2, []), UniformSchedule(1), forecast)
    for sample in values(1, 2, 3, 4, 5):
        for key in ("one", "other"):
            mixed(key, sample)
            single(key, sample)
    assert mixed.cache_bytes == mixed.log.cache_bytes == tensors * 3 * 2 * 16
    assert single.cache_bytes == single.log.cache_bytes == tensors * 2 * 16


class Noting:
    """A verbatim forecast that notes the positions it is told."""

    history_size = 2

    def __init__(self) -> None:
        self.told: list[tuple[list[Position], Position]] = []

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        self.told.append(([position for position, _ in history], at))
        return history[-1][1]


def test_a_forecast_is_told_evaluation_noise_level_and_branch() -> None:
    forecast = Noting()
    session = DeepCacheSession(Toy(0, 2), PlannedSchedule((None, 2, None, 0)), forecast)
    for index, sample in enumerate(values(1, 2, 3, 4)):
        session("key", sample, log_sigma=1.0 - index)
    assert forecast.told == [
        ([Position(0, 1.0, 2)], Position(1, 0.0, 2)),
        ([Position(0, 1.0, 0), Position(2, -1.0, 0)], Position(3, -2.0, 0)),
    ]


def test_with_a_single_branch_the_branch_is_that_of_the_split() -> None:
    forecast = Noting()
    session = DeepCacheSession(At(4, []), PlannedSchedule((None, 4)), forecast)
    for sample in values(1, 2):
        session("key", sample)
    assert forecast.told == [([Position(0, None, 4)], Position(1, None, 4))]


@torch.no_grad()
def test_on_a_unet_each_pass_is_that_of_a_session_of_its_branch(tiny: TinyUNet) -> None:
    plan: tuple[int | None, ...] = (None, 0, None, 5, 2, 0)
    mixed = DeepCacheSession(DiffusersMixedSplit(tiny.unet, (0, 2, 5)), PlannedSchedule(plan), LinearForecast())
    singles = {
        branch: DeepCacheSession(
            DiffusersUNetSplit(tiny.unet, branch),
            PlannedSchedule(tuple(None if kind is None else branch for kind in plan)),
            LinearForecast(),
        )
        for branch in (0, 2, 5)
    }
    for seed, kind in enumerate(plan):
        args, kwargs = tiny.inputs(seed)
        output = mixed("key", *args, **kwargs)[0]
        expected = {branch: single("key", *args, **kwargs)[0] for branch, single in singles.items()}
        for branch, value in expected.items():
            assert torch.equal(output, value) is (kind in (None, branch))
    assert mixed.log.kinds == "FrFrrr"
