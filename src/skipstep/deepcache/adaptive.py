"""Full passes as often as the forecast's own errors ask for, without a plan."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from ..errors import ScheduleError

FIRST_GAP, LARGEST_GAP = 2, 4
LARGEST_CHANGE = 2.0  # of the gap, from one full pass to the next


class AdaptiveSchedule:
    """A step-size controller on the forecast error.

    At every full pass the features that the forecast would have given are compared with those computed: mean absolute
    difference over mean absolute value. The next gap is the one before times `tolerance` over that error, at most
    doubled or halved, and 1 to 4 evaluations. The host reads an error two evaluations after it was computed, when the
    device is past it; so nothing waits. The last evaluation is full if the run's length is known.

    Raises:
        ScheduleError: if the tolerance is not above 0.
    """

    def __init__(self, tolerance: float, evaluations: int | None = None) -> None:
        if not tolerance > 0:
            raise ScheduleError(f"tolerance must be above 0, got {tolerance}; 0.2 is about every third evaluation")
        self.tolerance = tolerance
        self.evaluations = evaluations
        self._gap = float(FIRST_GAP)
        self._latest = 0  # full pass
        self._unread: deque[tuple[int, int, _Delayed]] = deque()  # full pass, gap before it, error

    def start(self) -> AdaptiveSchedule:
        """A new one of the same settings, for one key."""
        return AdaptiveSchedule(self.tolerance, self.evaluations)

    def compare(self, evaluation: int, predicted: Tensor, features: Tensor) -> None:
        """Note the forecast's error at the full pass `evaluation`; does not wait for the device."""
        error = (predicted - features).abs().mean(dtype=torch.float32) / features.abs().mean(dtype=torch.float32)
        self._unread.append((evaluation, evaluation - self._latest, _Delayed(error)))
        self._latest = evaluation

    def is_full(self, evaluation: int) -> bool:
        """Whether the gap is over."""
        if evaluation == 0 or (self.evaluations is not None and evaluation == self.evaluations - 1):
            return True
        while self._unread and evaluation - self._unread[0][0] >= 2:
            _, gap, error = self._unread.popleft()
            change = self.tolerance / max(1e-9, error.read())  # in this order not-a-number counts as none
            self._gap = gap * min(max(change, 1 / LARGEST_CHANGE), LARGEST_CHANGE)
        return evaluation - self._latest >= min(max(round(self._gap), 1), LARGEST_GAP)


class _Delayed:
    """A number on its way from the device."""

    def __init__(self, value: Tensor) -> None:
        self._event: Any = None
        if value.device.type == "cuda":
            self._value = torch.empty((), dtype=torch.float32, pin_memory=True)
            self._value.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(value.device))
        else:
            self._value = value

    def read(self) -> float:
        """The number; a CUDA device passed this point an evaluation ago."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._value)
