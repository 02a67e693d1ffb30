"""Makes sizes ready before the first job: every pass, at every batch size that compiled graphs have."""

from __future__ import annotations

import time

import structlog
from PIL import Image

from skipstep.engine.image import ImageEngine
from skipstep.engine.request import ImageRequest
from skipstep.engine.video import VideoEngine
from skipstep.engine.video_request import VideoRequest

from ..settings import WarmShape
from .asked import USUAL
from .models import ServedModel
from .protocol import Task
from .rows import DiffusionRows, Drawn

log = structlog.get_logger()


class _Nobody:
    """Listens to rows that nobody asked for."""

    wants_previews = False

    def on_pass(self, evaluation: int, evaluations: int, kind: str) -> None: ...

    def on_preview(self, step: int, jpeg: bytes) -> None: ...


def warm_up(model: ServedModel, shape: WarmShape, *, is_video: bool, compiler: str, max_rows: int) -> None:
    """Run one, two, four ... rows of a size through the passes of the usual preset.

    Raises:
        OptionError: if the model does not make this size.
    """
    started = time.perf_counter()
    run = _clip(model, shape) if is_video else _picture(model, shape)
    task = Task(key=None, run=run, kind=shape.model, work=1)
    sizes = sorted({min(2**power, max_rows) for power in range(max_rows.bit_length() + 1)})
    for size in sizes:
        batch = DiffusionRows(model, compiler=compiler, max_rows=max_rows)
        handles = [batch.start(task, _Nobody()) for _ in range(size)]
        while batch.count:
            batch.step()
        for handle in handles:
            if handle.error is not None:
                raise handle.error
    seconds = round(time.perf_counter() - started, 1)
    log.info("a size is ready", **shape.model_dump(), compiler=compiler, rows=sizes, seconds=seconds)


def _picture(model: ServedModel, shape: WarmShape) -> Drawn:
    engine = ImageEngine(model.own(), model.calibrations)
    request = engine.warming(ImageRequest(prompt="", width=shape.width, height=shape.height, cache=USUAL))
    return Drawn(kind="image", request=request, index=0, form="png", compare=False)


def _clip(model: ServedModel, shape: WarmShape) -> Drawn:
    size: tuple[int, int] = shape.width, shape.height
    engine = VideoEngine(model.own(), model.calibrations)
    grey = Image.new("RGB", size, "grey")
    asked = VideoRequest(picture=grey, width=size[0], height=size[1], frames=shape.frames, cache=USUAL)
    return Drawn(kind="video", request=engine.warming(asked), index=0, form="mp4", compare=False)
