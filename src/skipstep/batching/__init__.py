"""Phase-aligned continuous batching: pipeline calls that share the passes of one UNet, each with its own schedule."""

from .batch import ContinuousBatch, Tick
from .row import Row, RowCancelledError

__all__ = ["ContinuousBatch", "Row", "RowCancelledError", "Tick"]
