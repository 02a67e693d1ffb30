"""A job in a batch: its rows, and how they get on."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

from ..engines.protocol import Handle, Made, Rows, Task
from ..jobs.live import LiveJob

_WORDS = {"F": "full", "r": "reuse"}
PREVIEW_S = 0.5  # between two previews of a picture


class RunningJob:
    """The rows of one job in one batch."""

    def __init__(self, job: LiveJob, tasks: Sequence[Task]) -> None:
        self.job = job
        self.tasks = tuple(tasks)
        self.handles: list[Handle] = []
        self.begun_at = time.monotonic()
        self.most_rows = 0  # in a pass with one of its own

    def start(self, rows: Rows) -> None:
        """Let all rows join the batch."""
        for index, task in enumerate(self.tasks):
            self.handles.append(rows.start(task, _RowListener(self, index)))

    def cancel(self, rows: Rows) -> None:
        """End the rows that still run."""
        for handle in self.handles:
            if not handle.is_done:
                rows.cancel(handle)

    @property
    def is_done(self) -> bool:
        """Whether all rows have ended."""
        return all(handle.is_done for handle in self.handles)

    @property
    def error(self) -> BaseException | None:
        """The first row's that has one."""
        return next((handle.error for handle in self.handles if handle.error is not None), None)

    @property
    def made(self) -> list[Made]:
        """What the rows gave, in order."""
        return [handle.made for handle in self.handles if handle.made is not None]


class _RowListener:
    """Tells of a row as events of its job."""

    def __init__(self, running: RunningJob, index: int) -> None:
        self._running = running
        self._index = index
        self._previewed_at = float("-inf")

    @property
    def wants_previews(self) -> bool:
        """If they were asked for, and not at every step where steps are quick."""
        asked: Any = self._running.job.row.request.get("previews", False)
        return bool(asked) and time.monotonic() - self._previewed_at >= PREVIEW_S

    def on_pass(self, evaluation: int, evaluations: int, kind: str) -> None:
        """As an event of the job."""
        progress = {"image": self._index, "evaluation": evaluation, "evaluations": evaluations, "pass": _WORDS[kind]}
        self._running.job.tell("progress", **progress)

    def on_preview(self, step: int, jpeg: bytes) -> None:
        """As an event of the job."""
        self._previewed_at = time.monotonic()
        data = base64.b64encode(jpeg).decode()
        self._running.job.tell("preview", image=self._index, step=step, media_type="image/jpeg", data=data)
