"""Keeps the slopes of the calibrated forecast as small JSON files, one per model, branch and run shape."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from ..deepcache.calibrated import SlopeTable
from ..deepcache.calibration import RunShape
from ..deepcache.responses import Responses
from ..errors import OutputError
from ..folders import cache_folder
from ..plan import fingerprint
from .media import write_whole

VERSION = 1


def default_folder() -> Path:
    """The user's cache folder for calibrations.

    Raises:
        MissingExtraError, OutputError: as `cache_folder`.
    """
    return cache_folder("calibrations")


class CalibrationFolder:
    """Calibrations of one UNet in a folder; what is damaged counts as missing and is measured anew."""

    def __init__(self, unet: Any, folder: Path) -> None:
        self.window = 12
        self._model = fingerprint(unet)
        self._folder = folder

    def file(self, shape: RunShape) -> Path:
        """Where the slopes of a run shape are kept: the file of these very weights, or of a copy in half precision."""
        text = json.dumps([self._model.topology, shape.branch, shape.evaluations, shape.log_sigmas, shape.sampler])
        stem = hashlib.sha256(text.encode()).hexdigest()[:24]
        weights = hashlib.sha256(json.dumps(self._model.weights).encode()).hexdigest()[:8]
        own = self._folder / f"{stem}-{weights}.json"
        others = sorted(self._folder.glob(f"{stem}-*.json"))
        return next((file for file in (own, *others) if self._read(file, shape) is not None), own)

    def get(self, shape: RunShape) -> SlopeTable | None:
        """What was kept for this shape of run, by this model's weights."""
        return self._read(self.file(shape), shape)

    def _read(self, file: Path, shape: RunShape) -> SlopeTable | None:
        """What a file holds; None if it is missing, damaged, or of other weights."""
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            weights = tuple(map(_finite, data["weights"]))
            if data["version"] != VERSION or not self._model.matches(type(self._model)(self._model.topology, weights)):
                return None
            factors = {
                (int(gap), int(ahead)): tuple(None if value is None else _finite(value) for value in row)
                for gap, ahead, row in data["factors"]
            }
            return SlopeTable(branch=shape.branch, log_sigmas=tuple(map(_finite, data["log_sigmas"])), factors=factors)
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


def _finite(value: Any) -> float:
    """A number from JSON, which also knows NaN and Infinity.

    Raises:
        ValueError: if it is one of those.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number
