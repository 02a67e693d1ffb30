"""An engine that draws nothing, to measure and to break the service with."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from .protocol import Handle, Listener, Made, Output, Task


class DummyEngine:
    """Rows of as many evaluations as the job has steps, each `step_s` long for the whole batch.

    What it makes follows from prompt and seed alone, so that a job that ran twice can be told from one that did not.
    """

    def __init__(self, *, step_s: float = 0.0) -> None:
        self.step_s = step_s

    def tasks(self, kind: str, request: dict[str, Any], pictures: dict[str, bytes]) -> list[Task]:
        """A row for each picture."""
        seed, count = int(request["seed"]), int(request.get("n", 1))
        key = (kind, request.get("width"), request.get("height"))
        return [Task(key=key, run={**request, "seed": seed + index, "index": index}) for index in range(count)]

    def warm_up(self) -> None:
        """There is nothing to load."""

    def open(self, key: Hashable) -> DummyRows:
        """An empty batch."""
        return DummyRows(self.step_s)


@dataclass(slots=True)
class _Row:
    run: dict[str, Any]
    listener: Listener
    handle: Handle
    evaluation: int = 0


@dataclass
class DummyRows:
    """Every third evaluation is a full pass, at which rows join."""

    step_s: float
    _rows: list[_Row] = field(default_factory=list)
    _tick: int = 0

    @property
    def count(self) -> int:
        """Rows in it."""
        return len(self._rows)

    @property
    def is_joinable(self) -> bool:
        """At full passes."""
        return not self._rows or self._tick % 3 == 0

    def start(self, task: Task, listener: Listener) -> Handle:
        """Take in a row."""
        handle = Handle()
        self._rows.append(_Row(task.run, listener, handle))
        return handle

    def step(self) -> None:
        """One evaluation of all rows."""
        if self.step_s:
            time.sleep(self.step_s)
        kind = "F" if self._tick % 3 == 0 else "r"
        self._tick += 1
        for row in self._rows:
            row.evaluation += 1
            row.listener.on_pass(row.evaluation - 1, row.run["steps"], kind)
            if row.evaluation == row.run["steps"]:
                row.handle.made = _made(row.run, len(self._rows))
                row.handle.is_done = True
        self._rows = [row for row in self._rows if not row.handle.is_done]

    def cancel(self, handle: Handle) -> None:
        """Drop the row."""
        self._rows = [row for row in self._rows if row.handle is not handle]
        handle.is_done = True


def dummy_bytes(prompt: str, seed: int) -> bytes:
    """What a row of this prompt and seed gives."""
    return hashlib.sha256(f"{seed}:{prompt}".encode()).digest() * 16


def _made(run: dict[str, Any], batch: int) -> Made:
    name = f"{run['index']}.png"
    data = dummy_bytes(run.get("prompt", ""), run["seed"])
    output = Output(name=name, media_type="image/png", encode=lambda: data)
    return Made(outputs=(output,), report={"seed": run["seed"], "evaluations": run["steps"], "batch": batch})
