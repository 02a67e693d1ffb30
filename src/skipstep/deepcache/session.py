"""The state of one sampling run and the decision, per UNet call, to recompute or to reuse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from .forecast import FeatureHistory, Forecast, Position, VerbatimForecast
from .report import FULL, REUSE, PassLog
from .schedule import ReuseSchedule


class UNetSplit(Protocol):
    """A UNet cut at one skip connection (DeepCache's branch)."""

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """Run every block; return the UNet's own output and the deep features at the cut."""
        ...

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run only the shallow blocks around `features`, which stand in for everything deeper."""
        ...


@dataclass(slots=True)
class _Stream:
    """One key's evaluations so far and the features of its latest full passes."""

    history: FeatureHistory
    evaluations: int = 0


class DeepCacheSession:
    """Features and counters of one sampling run, one entry per key.

    A key names what must never share features: the set of conditionings and the input shape. A key that was not seen
    before, or that was dropped because more than `max_keys` came after it, starts with a full pass: a wrong key costs
    time, never correctness. Not for use from two threads at once; every run has its own session.
    """

    def __init__(
        self, split: UNetSplit, schedule: ReuseSchedule, forecast: Forecast | None = None, *, max_keys: int = 64
    ) -> None:
        self.split = split
        self.schedule = schedule
        self.forecast: Forecast = VerbatimForecast() if forecast is None else forecast
        self.max_keys = max_keys
        self.log = PassLog()
        self._streams: OrderedDict[Hashable, _Stream] = OrderedDict()

    def __call__(self, key: Hashable, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the UNet on `args` and `kwargs`, in full or reusing the features stored under `key`."""
        stream = self._stream(key)
        at = Position(stream.evaluations)
        device = next(value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        if len(stream.history) and not self.schedule.is_full(at.evaluation):
            with self.log.timed(REUSE, device):
                output = self.split.reuse(self.forecast.predict(stream.history, at), *args, **kwargs)
        else:
            with self.log.timed(FULL, device):
                output, features = self.split.full(*args, **kwargs)
            stream.history.add(at, features)
            self.log.cache_bytes = max(self.log.cache_bytes, self.cache_bytes)
        stream.evaluations += 1
        return output

    @property
    def cache_bytes(self) -> int:
        """Bytes of deep features held now."""
        return sum(stream.history.nbytes for stream in self._streams.values())

    def close(self) -> None:
        """Drop all features."""
        self._streams.clear()

    def _stream(self, key: Hashable) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(FeatureHistory(self.forecast.history_size))
            if len(self._streams) > self.max_keys:
                self._streams.popitem(last=False)
        self._streams.move_to_end(key)
        return stream
