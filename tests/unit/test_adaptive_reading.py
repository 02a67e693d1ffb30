"""How the adaptive schedule gets its numbers from the device, and what it makes of those that are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from skipstep.deepcache import AdaptiveSchedule
from skipstep.deepcache.adaptive import _Delayed


class Event:
    """A CUDA event that notes what is done with it."""

    done: ClassVar[list[str]] = []

    def record(self, stream: Any) -> None:
        self.done.append(f"recorded on {stream}")

    def synchronize(self) -> None:
        self.done.append("awaited")


class Pinned:
    """Host memory that a device copies to without being waited for."""

    def __init__(self) -> None:
        self.value = 0.0

    def copy_(self, value: Any, *, non_blocking: bool) -> None:
        assert non_blocking
        Event.done.append("copied")
        self.value = value.number

    def __float__(self) -> float:
        return self.value


def test_on_cuda_a_number_is_copied_beside_the_work_and_awaited_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def empty(shape: tuple[int, ...], *, dtype: torch.dtype, pin_memory: bool) -> Pinned:
        assert (shape, dtype, pin_memory) == ((), torch.float32, True)
        return Pinned()

    monkeypatch.setattr(Event, "done", [])
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device.type}")
    on_cuda: Any = SimpleNamespace(device=SimpleNamespace(type="cuda"), number=0.25)
    delayed = _Delayed(on_cuda)
    assert Event.done == ["copied", "recorded on the stream of cuda"]
    assert delayed.read() == 0.25
    assert Event.done == ["copied", "recorded on the stream of cuda", "awaited"]


@pytest.mark.parametrize(
    ("predicted", "features", "expected"),
    [
        (torch.zeros(4), torch.zeros(4), "FrFrrrF"),  # 0 / 0 is no error
        (torch.ones(4), torch.full((4,), float("nan")), "FrFrrrF"),
        (torch.ones(4), torch.zeros(4), "FrFrFFr"),  # 1 / 0 halves the gap, and the next error restores it
        (torch.ones(4), torch.ones(4), "FrFrrrF"),
    ],
)
def test_an_error_that_is_no_number_stops_no_run(predicted: Tensor, features: Tensor, expected: str) -> None:
    schedule, kinds = AdaptiveSchedule(0.1), ""
    for evaluation in range(len(expected)):
        full = schedule.is_full(evaluation)
        if full and evaluation == 2:
            schedule.compare(evaluation, predicted, features)
        elif full and evaluation:
            schedule.compare(evaluation, torch.tensor([1.1]), torch.ones(1))  # just as large as is tolerated
        kinds += "F" if full else "r"
    assert kinds == expected
