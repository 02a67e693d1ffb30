"""What measuring runs tell, added up."""

from __future__ import annotations

from ..deepcache.calibrated import SlopeTable
from ..deepcache.calibration import RunShape
from ..deepcache.responses import Responses

MAX_WINDOW = 64  # past features that are tried at each evaluation


class ResponseCollector:
    """`Calibrations` that never has slopes, so that every run measures."""

    def __init__(self, evaluations: int) -> None:
        self.window = min(evaluations, MAX_WINDOW)
        self.responses: Responses | None = None

    def get(self, shape: RunShape) -> SlopeTable | None:
        """Nothing, always."""
        return None

    def put(self, shape: RunShape, responses: Responses) -> None:
        """Add up."""
        if self.responses is None:
            self.responses = responses
        else:
            self.responses.add(responses.inner)
