"""What is asked of a MODEL, and what its runs did: travels on the ModelPatcher as an attachment."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from skipstep.deepcache.storage import SAME

from .window import Window

if TYPE_CHECKING:
    from skipstep.deepcache import CalibrationMemory, DeepCache, RunReport
    from skipstep.deepcache.pipeline import SplitMaker
    from skipstep.deepcache.report import PassLog
    from skipstep.plan import Plan

KEY = "skipstep"
_KEPT = 16


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One sampling run that ended well: its passes and what was chosen for it."""

    log: PassLog
    source: str
    baseline_s: float | None = None

    def report(self) -> RunReport:
        """Its figures; waits for the device."""
        return self.log.report(None)


class Record:
    """The latest runs of a model, oldest first; safe to add to from any thread."""

    def __init__(self) -> None:
        self._runs: deque[FinishedRun] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self.count = 0

    def add(self, run: FinishedRun) -> None:
        """Remember a run."""
        with self._lock:
            self._runs.append(run)
            self.count += 1

    @property
    def latest(self) -> FinishedRun | None:
        """The latest run, if there was one."""
        with self._lock:
            return self._runs[-1] if self._runs else None


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """Options of one MODEL.

    `cache`: options, a plan, or the name of a preset; None runs every pass in full.
    `window`: the part of the noise schedule in which features may be reused.
    `feature_dtype`, `feature_device`: how features are kept, as in `DeepCache`, whatever the cache says of it.
    `compiler`: makes the two passes; None leaves them as the UNet's own code.
    """

    cache: DeepCache | Plan | str | None = None
    window: Window = Window()  # noqa: RUF009  frozen
    feature_dtype: str = SAME
    feature_device: str = SAME
    compiler: SplitMaker | None = None
    calibrations: CalibrationMemory | None = None
    record: Record = field(default_factory=Record)


def speedup_of(model: Any) -> Speedup | None:
    """What is asked of a MODEL, if anything."""
    found = model.get_attachment(KEY)
    return found if isinstance(found, Speedup) else None
