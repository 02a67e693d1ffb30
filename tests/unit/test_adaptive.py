"""The schedule that goes by the forecast's own errors: when it is full, and what it waits for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from skipstep.deepcache import AdaptiveSchedule, DeepCacheSession, LinearForecast
from skipstep.errors import ScheduleError


def passes(schedule: AdaptiveSchedule, error: float, evaluations: int) -> str:
    """The passes of a run whose forecasts are all wrong by `error` of the features."""
    kinds, features = "", torch.tensor([2.0, -4.0])
    for evaluation in range(evaluations):
        full = schedule.is_full(evaluation)
        if full and evaluation:
            schedule.compare(evaluation, features * (1 + error), features)
        kinds += "F" if full else "r"
    return kinds


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (0.1, "FrFrFrFrFrFrFrFrF"),  # as tolerated: the gap stays
        (0.05, "FrFrrrFrrrFrrrFrr"),  # half: doubled when it is read, two later, and at most 4
        (0.2, "FrFrFFFFFFFFFFFFF"),  # twice: halved
        (0.0, "FrFrrrFrrrFrrrFrr"),  # a perfect forecast is trusted no farther
    ],
)
def test_the_gap_follows_the_error(error: float, expected: str) -> None:
    assert passes(AdaptiveSchedule(0.1), error, 17) == expected


def test_the_last_evaluation_is_full_if_the_length_is_known() -> None:
    assert passes(AdaptiveSchedule(0.1, 10), 0.0, 10)[-2:] == "rF"
    assert passes(AdaptiveSchedule(0.1), 0.0, 10)[-1] == "r"


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_that_nothing_meets_is_refused(tolerance: float) -> None:
    with pytest.raises(ScheduleError, match=r"tolerance must be above 0, got .*; 0\.2 is about every third"):
        AdaptiveSchedule(tolerance)


class Bending:
    """A split whose features move along a curve, the faster the later."""

    def __init__(self) -> None:
        self.calls = 0

    def full(self, sample: Tensor) -> tuple[tuple[Tensor], Tensor]:
        return (sample,), sample**3

    def reuse(self, features: Tensor, sample: Tensor) -> tuple[Tensor]:
        return (sample,)


def kinds(tolerance: float, keys: str = "a") -> str:
    session = DeepCacheSession(Bending(), AdaptiveSchedule(tolerance), LinearForecast())
    for step in range(20):
        for key in keys:
            session(key, torch.tensor([1.0 + 0.2 * step]))
    return session.log.kinds


def test_a_session_refreshes_more_often_the_less_it_tolerates() -> None:
    counts = [kinds(tolerance).count("F") for tolerance in (1e-4, 0.05, 10.0)]
    assert counts[0] > counts[1] > counts[2]
    assert kinds(10.0) == "FrFrrrFrrrFrrrFrrrFr"


def test_every_key_learns_on_its_own() -> None:
    assert kinds(0.05, "ab")[::2] == kinds(0.05, "ab")[1::2] == kinds(0.05)


def test_nothing_is_read_from_the_device_before_two_evaluations_have_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    now = 0
    original = Tensor.__float__

    def counted(tensor: Tensor) -> float:
        reads.append(now)
        return original(tensor)

    schedule: Any = AdaptiveSchedule(0.1)
    monkeypatch.setattr(Tensor, "__float__", counted)
    computed: list[int] = []
    for now in range(12):
        if schedule.is_full(now) and now:
            schedule.compare(now, torch.tensor([1.1]), torch.tensor([1.0]))
            computed.append(now)
    assert reads
    assert all(read - made >= 2 for read, made in zip(reads, computed, strict=False))


def test_half_types_are_compared_in_float32() -> None:
    schedule = AdaptiveSchedule(0.1)
    large = torch.full((100_000,), 60_000.0, dtype=torch.float16)  # their sum is beyond float16
    schedule.is_full(2)
    schedule.compare(2, large, large)
    assert [schedule.is_full(evaluation) for evaluation in (3, 4, 6)] == [False, False, True]
