"""The dense phase and the penalties after it."""

from __future__ import annotations

import pytest

from skipstep.adapters.sora import SparsitySchedule, rising_schedule
from skipstep.errors import OptionError


def test_penalties_follow_one_another_and_the_last_stays() -> None:
    schedule = SparsitySchedule(penalties=(0.1, 0.4), dense_steps=2, stage_steps=3)
    assert [schedule.penalty(step) for step in range(10)] == [0, 0, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.4, 0.4]


def test_a_rising_schedule_fills_the_steps() -> None:
    schedule = rising_schedule(0.8, steps=13, stages=4, dense_share=0.25)
    penalties = [schedule.penalty(step) for step in range(13)]
    assert penalties == pytest.approx([0, 0, 0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 0.8, 0.8])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"penalties": ()}, "penalties must be one or more numbers from 0"),
        ({"penalties": (0.1, -1.0)}, "penalties must be one or more numbers from 0"),
        ({"penalties": (float("inf"),)}, "penalties must be one or more numbers from 0"),
        ({"penalties": (0.1,), "dense_steps": -1}, "got -1 and 1"),
        ({"penalties": (0.1,), "stage_steps": 0}, "got 0 and 0"),
    ],
)
def test_schedules_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SparsitySchedule(**wrong)  # type: ignore[arg-type]


def test_too_few_steps_for_the_stages_are_refused() -> None:
    with pytest.raises(OptionError, match="4 stages need as many steps after the dense phase, got 3"):
        rising_schedule(1.0, steps=4)
    with pytest.raises(OptionError, match="dense_share must be from 0 to below 1, got 1.0"):
        rising_schedule(1.0, steps=40, dense_share=1.0)
