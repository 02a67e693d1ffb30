"""The clock of the benchmark: turns, and the two kinds of seconds."""

from __future__ import annotations

import threading
import time

import torch

from skipstep.bench.clock import interleaved, timed

CPU = torch.device("cpu")


def test_rounds_run_forwards_and_backwards_in_turns() -> None:
    assert interleaved(3, 4) == [[0, 1, 2], [2, 1, 0], [0, 1, 2], [2, 1, 0]]
    assert interleaved(1, 1) == [[0]]


def test_waiting_takes_wall_time_and_working_takes_both() -> None:
    def work() -> str:
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        return "done"

    waited, idle = timed(lambda: threading.Event().wait(0.05), CPU)
    assert waited is False
    assert idle.wall >= 0.05
    assert idle.cpu < 0.02
    worked, busy = timed(work, CPU)
    assert worked == "done"
    assert busy.cpu >= 0.05
    assert busy.wall >= 0.04  # the two clocks are not one
