"""skipstep's models in shared batches."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skipstep.batching import ContinuousBatch, Row
from skipstep.deepcache import DeepCache
from skipstep.errors import OptionError

from ..catalog import pixel_steps
from ..settings import Settings
from .asked import image_requests, video_request
from .drawing import Draw, drawing, filming
from .models import NO_COMPILER, Loras, ServedModel, family_of, load
from .protocol import Handle, Listener, Made, Task

_SAMPLES = (1, 2, 4, 8, 16, 32)  # that compiled passes are filled up to


@dataclass(frozen=True, kw_only=True)
class BatchKey:
    """What rows that share passes have in common; `alone` is a number of its own for a row that shares with nobody."""

    model: str
    kind: str
    size: tuple[int | None, ...]
    compiler: str
    loras: Loras
    alone: int | None


@dataclass(frozen=True, kw_only=True)
class _Run:
    kind: str
    request: Any
    index: int
    form: str
    compare: bool


class DiffusionEngine:
    """All models of the settings, for one thread.

    Raises:
        OptionError, UnsupportedModelError: if a model is not there, or of no family that it runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.families = {name: family_of(source) for name, source in settings.models.items()}
        self._settings = settings
        self._plans = None if settings.plans is None else Path(settings.plans)
        self._models: dict[str, ServedModel] = {}
        self._alone = itertools.count()

    def tasks(self, kind: str, request: dict[str, Any], pictures: dict[str, bytes]) -> list[Task]:
        """A row for each picture, or one for a clip.

        Raises:
            OptionError, PlanError, ScheduleError: if a value is out of range or contradicts another.
        """
        asked: list[Any]
        if kind == "image":
            asked = list(image_requests(request, pictures, plans=self._plans))
        else:
            asked = [video_request(request, pictures, plans=self._plans)]
        return [
            Task(
                key=self._key(kind, request, one),
                run=_Run(kind=kind, request=one, index=index, form=request["format"], compare=request["compare"]),
                kind=request["model"],
                work=pixel_steps(kind, one.width, one.height, getattr(one, "frames", 1), steps=one.steps),
            )
            for index, one in enumerate(asked)
        ]

    def _key(self, kind: str, request: dict[str, Any], one: Any) -> BatchKey:
        loras = tuple((lora["name"], float(lora["scale"])) for lora in request.get("loras", ()))
        for name, _ in loras:
            if name not in self._settings.loras:
                known = ", ".join(self._settings.loras) or "none: this server has no LoRAs"
                raise OptionError(f"the LoRA must be one of {known}, got {name!r}")
        decides = isinstance(one.cache, DeepCache) and one.cache.tolerance is not None
        return BatchKey(
            model=request["model"],
            kind=kind,
            size=(one.width, one.height, getattr(one, "frames", None)),
            compiler=request["acceleration"]["compiler"] or self._settings.compiler,
            loras=loras,
            alone=next(self._alone) if request["compare"] or decides else None,
        )

    def warm_up(self) -> None:
        """Load the first model; the others come when they are asked for."""
        logging.captureWarnings(True)
        self._model(next(iter(self._settings.models)))

    def open(self, key: Hashable) -> DiffusionRows:
        """An empty batch, with the LoRAs of its key on the model."""
        assert isinstance(key, BatchKey)
        model = self._model(key.model)
        model.wear(key.loras, self._settings.loras)
        samples = () if key.compiler == NO_COMPILER else _SAMPLES
        split = model.split(key.compiler)
        batch = ContinuousBatch(model.loaded.pipe.unet, split, max_rows=self._settings.max_rows, samples=samples)
        return DiffusionRows(model, batch)

    def _model(self, name: str) -> ServedModel:
        if name not in self._models:
            source = self._settings.models[name]
            self._models[name] = load(source, device=self._settings.device, dtype=self._settings.dtype)
            if self._models[name].loaded.is_demo:
                torch.set_num_threads(1)  # its operations are too small to share
        return self._models[name]


class DiffusionRows:
    """Rows of one model."""

    def __init__(self, model: ServedModel, batch: ContinuousBatch) -> None:
        self._model = model
        self._batch = batch
        self._handles: list[Handle] = []

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
        handle = Handle(inner=self._batch.start(self._draw(task.run, listener)))
        self._handles.append(handle)
        self._note_done()
        return handle

    def step(self) -> None:
        """Run one pass."""
        self._batch.step()
        self._note_done()

    def cancel(self, handle: Handle) -> None:
        """End a row at the pass that it waits for."""
        self._batch.cancel(handle.inner)
        self._note_done()

    def _draw(self, run: _Run, listener: Listener) -> Draw:
        if run.kind == "image":
            return drawing(self._model, run.request, listener, index=run.index, form=run.form, compare=run.compare)
        return filming(self._model, run.request, listener, form=run.form, compare=run.compare)

    def _note_done(self) -> None:
        for handle in self._handles:
            row: Row[Made] = handle.inner
            if row.is_done:
                handle.made, handle.error, handle.is_done = row.result, row.error, True
        self._handles = [handle for handle in self._handles if not handle.is_done]
