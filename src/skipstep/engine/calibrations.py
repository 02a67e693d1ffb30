"""Keeps the slopes of the calibrated forecast as small JSON files, one per model, branch and run shape."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..deepcache.calibrated import SlopeTable
from ..deepcache.calibration import RunShape
from ..deepcache.responses import Responses
from ..errors import MissingExtraError, OutputError
from ..plan import fingerprint
from .media import write_whole

VERSION = 1


def default_folder() -> Path:
    """The user's cache folder for calibrations, as the operating system has it."""
    try:
        from platformdirs import user_cache_path
    except ImportError as error:
        raise MissingExtraError("keeping calibrations needs platformdirs: pip install 'skipstep[cli]'") from error
    return user_cache_path("skipstep") / "calibrations"


class CalibrationFolder:
    """Calibrations of one UNet in a folder; what is damaged counts as missing and is measured anew."""

    def __init__(self, unet: Any, folder: Path) -> None:
        self.window = 12
        self._model = fingerprint(unet)
        self._folder = folder

    def file(self, shape: RunShape) -> Path:
        """Where the slopes of a run shape are kept."""
        text = json.dumps([self._model.topology, shape.branch, shape.evaluations, shape.log_sigmas, shape.sampler])
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"

    def get(self, shape: RunShape) -> SlopeTable | None:
        """What was kept for this shape of run, by this model's weights."""
        try:
            data = json.loads(self.file(shape).read_text(encoding="utf-8"))
            weights = tuple(float(size) for size in data["weights"])
            if data["version"] != VERSION or not self._model.matches(type(self._model)(self._model.topology, weights)):
                return None
            factors = {
                (int(gap), int(ahead)): tuple(None if value is None else float(value) for value in row)
                for gap, ahead, row in data["factors"]
            }
            return SlopeTable(branch=shape.branch, log_sigmas=tuple(map(float, data["log_sigmas"])), factors=factors)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, shape: RunShape, responses: Responses) -> None:
        """Write the slopes of what an uncached run measured.

        Raises:
            OutputError: if the folder cannot be written to.
        """
        table = responses.slope_table()
        data = {
            "version": VERSION,
            "weights": self._model.weights,
            "branch": shape.branch,
            "evaluations": shape.evaluations,
            "log_sigmas": [round(level, 5) for level in table.log_sigmas],
            "factors": [
                [gap, ahead, [None if value is None else round(value, 3) for value in row]]
                for (gap, ahead), row in table.factors.items()
                if any(value is not None for value in row)
            ],
        }
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot keep calibrations in {self._folder}: {error.strerror or error}") from error
        write_whole(self.file(shape), (json.dumps(data) + "\n").encode())
