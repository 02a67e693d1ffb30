"""Times calls: wall seconds with the device waited for, and on one CPU thread this process's own CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call."""

    wall: float
    cpu: float  # of this process, all threads


def timed(call: Callable[[], Result], device: torch.device) -> tuple[Result, Timing]:
    """What a call returns and what it took."""
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    _wait(device)
    return result, Timing(time.perf_counter() - wall, time.process_time() - cpu)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def interleaved(rows: int, rounds: int) -> list[list[int]]:
    """The order of the rows in each round: forwards and backwards in turns, so that drift favours none."""
    return [list(range(rows)) if turn % 2 == 0 else list(range(rows))[::-1] for turn in range(rounds)]
