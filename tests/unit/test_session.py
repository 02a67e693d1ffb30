"""The session: which evaluations run in full, and on whose features the others run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import TinyUNet
from torch import Tensor

from skipstep.deepcache import (
    AdaptiveSchedule,
    DeepCacheSession,
    DiffusersUNetSplit,
    ExplicitSchedule,
    LinearForecast,
    UniformSchedule,
)


class Recorder:
    """A split whose deep features are twice its input, and which notes what it is asked to run."""

    def __init__(self) -> None:
        self.full_calls = 0
        self.reused: list[float] = []

    def full(self, sample: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
        self.full_calls += 1
        return sample + 1, 2 * sample

    def reuse(self, features: Tensor, sample: Tensor, **_: Any) -> Tensor:
        self.reused.append(float(features[0]))
        return sample - 1


def at(value: float) -> Tensor:
    return torch.full((4,), float(value))


def test_the_outputs_are_those_of_the_passes_in_turn() -> None:
    split = Recorder()
    session = DeepCacheSession(split, UniformSchedule(3))
    outputs = [float(session("key", at(value))[0]) for value in range(7)]
    assert outputs == [1, 0, 1, 4, 3, 4, 7]
    assert split.reused == [0, 0, 6, 6]  # twice the input of the latest full pass
    assert session.log.kinds == "FrrFrrF"
    assert (len(session.log), session.log.latest) == (7, "F")


def test_the_first_evaluation_is_full_whatever_the_schedule_says() -> None:
    class Never:
        def is_full(self, evaluation: int) -> bool:
            return False

    session = DeepCacheSession(Recorder(), Never())
    for _ in range(4):
        session("key", at(1))
    assert session.log.kinds == "Frrr"


def test_a_linear_forecast_goes_on_from_the_latest_two() -> None:
    split = Recorder()
    session = DeepCacheSession(split, UniformSchedule(2), LinearForecast())
    for value in (0.0, 1.0, 4.0, 5.0):
        session("key", at(value))
    assert split.reused == [0, 12]  # verbatim 0, then 8 + (8 - 0) * 1 / 2


def test_keys_share_neither_features_nor_counts() -> None:
    split = Recorder()
    session = DeepCacheSession(split, UniformSchedule(3))
    for value in range(3):
        session("conditional", at(value))
        session(("unconditional", 1), at(value + 10))
    assert session.log.kinds == "FFrrrr"
    assert split.reused == [0, 20, 0, 20]


def test_a_key_that_comes_late_starts_with_a_full_pass() -> None:
    session = DeepCacheSession(Recorder(), ExplicitSchedule([0]))
    for key in "aabab":
        session(key, at(1))
    assert session.log.kinds == "FrFrr"


def test_the_key_unused_for_longest_is_dropped_and_starts_anew() -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(100), max_keys=2)
    for key in "aabbaca":  # b is dropped by c, a is not
        session(key, at(1))
    assert session.log.kinds == "FrFrrFr"
    session("b", at(1))
    assert session.log.latest == "F"
    assert session.cache_bytes == 2 * 16


@pytest.mark.parametrize(("forecast", "tensors"), [(None, 1), (LinearForecast(), 2)])
def test_the_cache_holds_one_tensor_a_key_or_two_for_a_line(forecast: Any, tensors: int) -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(2), forecast)
    assert session.cache_bytes == 0
    for value in range(6):
        session("key", at(value))
    assert session.cache_bytes == session.log.cache_bytes == tensors * 4 * 4
    session("other", at(0))
    assert session.cache_bytes == (tensors + 1) * 4 * 4
    session.close()
    assert session.cache_bytes == 0
    assert session.log.cache_bytes == (tensors + 1) * 4 * 4  # the most that was held


def test_closing_forgets_what_was_stored() -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(100))
    session("key", at(1))
    session.close()
    session("key", at(1))
    assert session.log.kinds == "FF"


def test_two_evaluations_a_step_are_counted_one_by_one() -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(3))
    for step in range(8):  # Heun: two a step but for the last
        for _ in range(1 if step == 7 else 2):
            session("key", at(step))
    assert session.log.kinds == "FrrFrrFrrFrrFrr"


def test_tensors_may_be_given_by_name() -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(2))
    assert float(session("key", sample=at(1), note="no tensor")[0]) == 2
    assert session.log.kinds == "F"


@torch.no_grad()
def test_on_a_unet_interval_1_is_the_plain_unet_and_interval_2_is_not(tiny: TinyUNet) -> None:
    always = DeepCacheSession(DiffusersUNetSplit(tiny.unet, 1), UniformSchedule(1))
    second = DeepCacheSession(DiffusersUNetSplit(tiny.unet, 1), UniformSchedule(2))
    for seed in range(3):
        args, kwargs = tiny.inputs(seed)
        assert torch.equal(always("key", *args, **kwargs)[0], tiny(seed))
        assert torch.equal(second("key", *args, **kwargs)[0], tiny(seed)) is (seed != 1)
    assert (always.log.kinds, second.log.kinds) == ("FFF", "FrF")


@torch.no_grad()
def test_on_a_unet_other_keys_in_between_change_nothing(tiny_sdxl: TinyUNet) -> None:
    alone = DeepCacheSession(DiffusersUNetSplit(tiny_sdxl.unet, 2), UniformSchedule(4), LinearForecast())
    mixed = DeepCacheSession(DiffusersUNetSplit(tiny_sdxl.unet, 2), UniformSchedule(4), LinearForecast())
    for seed in range(6):
        args, kwargs = tiny_sdxl.inputs(seed)
        other_args, other_kwargs = tiny_sdxl.inputs(seed + 20, (17, 13))
        mixed("other", *other_args, **other_kwargs)
        assert torch.equal(mixed("key", *args, **kwargs)[0], alone("key", *args, **kwargs)[0])
    assert mixed.log.kinds == "FFrrrrrrFFrr"


def test_a_host_that_counts_tells_which_evaluation_it_is() -> None:
    split = Recorder()
    session = DeepCacheSession(split, UniformSchedule(3), LinearForecast())
    for evaluation, value in ((0, 0.0), (1, 1.0), (3, 3.0), (5, 5.0)):  # 2 and 4 were not called for
        session("key", at(value), evaluation=evaluation)
    session("late", at(9.0), evaluation=5)
    assert session.log.kinds == "FrFrF"
    assert split.reused == [0, 6 + (6 - 0) * 2 / 3]  # full at 0 and 3, forecast for 5


def test_a_full_pass_that_was_not_called_for_is_made_up_for() -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(3))
    for evaluation in (0, 1, 4, 5, 6):
        if evaluation == 4:
            assert session.reuse_branch("key", 4) is None  # 3 was to be full
        session("key", at(1), evaluation=evaluation)
    assert session.log.kinds == "FrFrF"


def test_whether_the_next_pass_reuses_is_told_ahead_only_where_it_is_sure() -> None:
    session = DeepCacheSession(Recorder(), UniformSchedule(3))
    assert session.reuse_branch("key", 1) is None  # never called
    session("key", at(1))
    assert session.reuse_branch("key", 1) == 0
    assert session.reuse_branch("other", 1) is None
    assert session.reuse_branch("key", 3) is None
    learning = DeepCacheSession(Recorder(), AdaptiveSchedule(0.2))
    learning("key", at(1))
    assert learning.reuse_branch("key", 1) is None
