"""A batch of one model's rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from skipstep.batching import ContinuousBatch, Row
from skipstep.compile import CompileCounters

from .drawing import Form, drawing, filming
from .models import NO_COMPILER, ServedModel
from .protocol import Handle, Listener, Made, Task

_SAMPLES = (1, 2, 4, 8, 16, 32)  # that compiled passes are filled up to


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a task is to draw: an `ImageRequest` or a `VideoRequest`, and how it is to be handed over.

    `expansion` is that of the request's prompt, as it is stored with the job.
    """

    kind: str
    request: Any
    index: int
    form: str
    compare: bool
    expansion: dict[str, Any] | None = None


class DiffusionRows:
    """Rows of one model, whose reports say how many of their passes a compiled graph answered."""

    def __init__(self, model: ServedModel, *, compiler: str, max_rows: int) -> None:
        split = model.split(compiler)
        self._model = model
        self._compiler = compiler
        self._counters: CompileCounters | None = getattr(split, "counters", None)
        self._batch = ContinuousBatch(
            model.loaded.pipe.unet,
            split,
            max_rows=max_rows,
            samples=() if compiler == NO_COMPILER else _SAMPLES,
            fitting=model.fitting,
        )
        self._handles: list[Handle] = []
        self._hits: Counter[Row[Any]] = Counter()

    @property
    def count(self) -> int:
        """Rows in it."""
        return len(self._batch.rows)

    @property
    def is_joinable(self) -> bool:
        """Whether the next pass is full."""
        return self._batch.is_joinable

    def start(self, task: Task, listener: Listener) -> Handle:
        """Take in a row: its text is encoded at once."""
        run: Drawn = task.run
        if run.kind == "image":
            form = Form(index=run.index, suffix=run.form, expansion=run.expansion)
            draw = drawing(self._model, run.request, listener, form=form, compare=run.compare)
        else:
            draw = filming(self._model, run.request, listener, form=run.form, compare=run.compare)
        handle = Handle(inner=self._batch.start(draw))
        self._handles.append(handle)
        self._note_done()
        return handle

    def step(self) -> None:
        """Run one pass."""
        before = 0 if self._counters is None else self._counters.hits
        tick = self._batch.step()
        if tick is not None and self._counters is not None and self._counters.hits > before:
            self._hits.update(tick.rows)
        self._note_done()

    def cancel(self, handle: Handle) -> None:
        """End a row at the pass that it waits for."""
        self._batch.cancel(handle.inner)
        self._note_done()

    def _note_done(self) -> None:
        for handle in self._handles:
            row: Row[Made] = handle.inner
            if row.is_done:
                hits = self._hits.pop(row, 0)
                if row.result is not None:
                    report = {**row.result.report, "compiler": self._compiler, "graph_hits": hits}
                    handle.made = replace(row.result, report=report)
                handle.error, handle.is_done = row.error, True
        self._handles = [handle for handle in self._handles if not handle.is_done]
