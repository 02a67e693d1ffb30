"""skipstep's models in shared batches."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skipstep.compile import default_kernels
from skipstep.deepcache import DeepCache
from skipstep.engine.unet_loras import check_lora
from skipstep.errors import OptionError

from ..catalog import VIDEO, pixel_steps
from ..settings import Settings
from .asked import image_requests, video_request
from .models import NO_COMPILER, KeptModels, Loras, ServedModel, family_of, load
from .protocol import Task
from .rows import DiffusionRows, Drawn
from .shared_graphs import ServerGraphs
from .warming import warm_up


@dataclass(frozen=True, kw_only=True)
class BatchKey:
    """What rows that share passes have in common; `alone` is a number of its own for a row that shares with nobody."""

    model: str
    kind: str
    size: tuple[int | None, int | None, int | None]  # width, height, frames; the model's own where it is None
    compiler: str
    loras: Loras
    alone: int | None


class DiffusionEngine:
    """All models of the settings, for one thread.

    Raises:
        OptionError, UnsupportedModelError: if a model or LoRA is not there or not sound, or of no family that it runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.families = {name: family_of(source) for name, source in settings.models.items()}
        for file in settings.loras.values():
            check_lora(Path(file))
        self._settings = settings
        self._plans = None if settings.plans is None else Path(settings.plans)
        self._models = KeptModels(self._load, most=settings.max_models)
        self._alone = itertools.count()
        if settings.compiler != NO_COMPILER:
            default_kernels().use()  # before loading a model has torch settle on a folder of its own
        self._graphs = None if settings.compiled is None else ServerGraphs(settings)

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
                run=Drawn(
                    kind=kind,
                    request=one,
                    index=index,
                    form=request["format"],
                    compare=request["compare"],
                    expansion=request.get("expansion"),
                ),
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
        """Load the first model, and those with sizes that are to be ready; the others come when they are asked for."""
        logging.captureWarnings(True)
        self._models.get(next(iter(self._settings.models)))
        if self._graphs is None:
            self._warm_shapes()
        else:
            with self._graphs.warming(
                {shape.model: self._models.get(shape.model) for shape in self._settings.warm_shapes}
            ):
                self._warm_shapes()

    def close(self, timeout_s: float) -> None:
        """Wait for what is brought to other servers."""
        if self._graphs is not None:
            self._graphs.close(timeout_s)

    def _warm_shapes(self) -> None:
        for shape in self._settings.warm_shapes:
            warm_up(
                self._models.get(shape.model),
                shape,
                is_video=self.families[shape.model] == VIDEO,
                compiler=self._settings.compiler,
                max_rows=self._settings.max_rows,
            )

    def open(self, key: Hashable) -> DiffusionRows:
        """An empty batch, with the LoRAs of its key on the model."""
        assert isinstance(key, BatchKey)
        model = self._models.get(key.model)
        model.wear(key.loras, self._settings.loras)
        compiler = key.compiler if self._is_compiled(key, model) else NO_COMPILER
        return DiffusionRows(model, compiler=compiler, max_rows=self._settings.max_rows)

    def _is_compiled(self, key: BatchKey, model: ServedModel) -> bool:
        """Where sizes were made ready, nothing else is compiled: it would keep everybody waiting for minutes."""
        shapes = self._settings.warm_shapes
        if not shapes:
            return True
        size = model.size_of(*key.size)
        return not key.loras and any(
            shape.model == key.model and model.size_of(shape.width, shape.height, shape.frames) == size
            for shape in shapes
        )

    def let_go(self, model: str) -> None:
        """Give its memory back before another is loaded, unless it is used meanwhile."""
        self._models.let_go(model)

    def _load(self, name: str) -> ServedModel:
        source, settings = self._settings.models[name], self._settings
        store = None if self._graphs is None else self._graphs.store
        model = load(source, device=settings.device, dtype=settings.dtype, store=store)
        if model.loaded.is_demo:
            torch.set_num_threads(1)  # its operations are too small to share
        return model
