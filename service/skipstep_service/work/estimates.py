"""How long rows take, from those that ran."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from ..engines.protocol import Task

_WEIGHT = 0.2  # of the latest
_UNKNOWN_S = 2.0


class Estimates:
    """Seconds per unit of work, an exponential mean for each kind of task."""

    def __init__(self) -> None:
        self._paces: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, tasks: Sequence[Task], seconds: float, *, rows: int) -> None:
        """The tasks of a job took so long in a batch of so many rows."""
        kind, work = tasks[0].kind, sum(task.work for task in tasks)
        pace = seconds * len(tasks) / max(rows, 1) / work
        with self._lock:
            before = self._paces.get(kind, pace)
            self._paces[kind] = before + _WEIGHT * (pace - before)

    def seconds(self, tasks: Iterable[Task]) -> float:
        """What these will take, one after the other."""
        with self._lock:
            return sum(self._paces[task.kind] * task.work if task.kind in self._paces else _UNKNOWN_S for task in tasks)
