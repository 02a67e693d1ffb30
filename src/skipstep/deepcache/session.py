"""The state of one sampling run and the decision, per UNet call, to recompute or to reuse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from .forecast import FeatureHistory, Forecast, Position, VerbatimForecast
from .report import FULL, REUSE, PassLog
from .schedule import LearningSchedule, MixedSchedule, ReuseSchedule


class UNetSplit(Protocol):
    """A UNet cut at one skip connection (DeepCache's branch)."""

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """Run every block; return the UNet's own output and the deep features at the cut."""
        ...

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Run only the shallow blocks around `features`, which stand in for everything deeper."""
        ...


class MixedSplit(Protocol):
    """A UNet that can be cut at several skip connections, one per reuse pass."""

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, dict[int, Tensor]]:
        """Run every block; return the UNet's own output and the deep features of every branch."""
        ...

    def at(self, branch: int) -> UNetSplit:
        """The cut at one of the branches, for reuse passes."""
        ...


@dataclass(slots=True)
class _Stream:
    """One key's evaluations so far, the features of its latest full passes by branch, and what its schedule saw."""

    schedule: ReuseSchedule
    histories: dict[int, FeatureHistory] = field(default_factory=dict)
    evaluations: int = 0


def first_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.device:
    """The device of the first tensor among a UNet call's arguments."""
    return next(value.device for value in (*args, *kwargs.values()) if isinstance(value, Tensor))


class DeepCacheSession:
    """Features and counters of one sampling run, one entry per key.

    A key names what must never share features: the set of conditionings and the input shape. A key that was not seen
    before, or that was dropped because more than `max_keys` came after it, starts with a full pass: a wrong key costs
    time, never correctness. Not for use from two threads at once; every run has its own session.
    """

    def __init__(
        self,
        split: UNetSplit | MixedSplit,
        schedule: ReuseSchedule,
        forecast: Forecast | None = None,
        *,
        max_keys: int = 64,
    ) -> None:
        self.split = split
        self.schedule = schedule
        self.forecast: Forecast = VerbatimForecast() if forecast is None else forecast
        self._learns = isinstance(schedule, LearningSchedule)
        self._mixes = isinstance(schedule, MixedSchedule) and hasattr(split, "at")
        self.max_keys = max_keys
        self.log = PassLog()
        self._streams: OrderedDict[Hashable, _Stream] = OrderedDict()

    def __call__(self, key: Hashable, *args: Any, log_sigma: float | None = None, **kwargs: Any) -> Any:
        """Evaluate the UNet on `args` and `kwargs`, in full or reusing the features stored under `key`.

        `log_sigma` is the noise level of the call, for forecasts that go by it.
        """
        stream = self._stream(key)
        schedule: Any = stream.schedule
        evaluation = stream.evaluations
        device = first_device(args, kwargs)
        if stream.histories and not schedule.is_full(evaluation):
            branch = schedule.branch_at(evaluation) if self._mixes else self._branch
            history, at = stream.histories[branch], Position(evaluation, log_sigma, branch)
            split: Any = self.split
            if self._mixes:
                split = split.at(branch)
            with self.log.timed(REUSE, device):
                output = split.reuse(self.forecast.predict(history, at), *args, **kwargs)
        else:
            with self.log.timed(FULL, device):
                output, features = self.split.full(*args, **kwargs)
            for branch, tensor in features.items() if isinstance(features, dict) else ((self._branch, features),):
                history = stream.histories.setdefault(branch, FeatureHistory(self.forecast.history_size))
                at = Position(evaluation, log_sigma, branch)
                if self._learns and len(history):
                    schedule.compare(evaluation, self.forecast.predict(history, at), tensor)
                history.add(at, tensor)
            self.log.cache_bytes = max(self.log.cache_bytes, self.cache_bytes)
        stream.evaluations += 1
        return output

    @property
    def _branch(self) -> int:
        return getattr(self.split, "branch", 0)

    @property
    def cache_bytes(self) -> int:
        """Bytes of deep features held now."""
        return sum(h.nbytes for stream in self._streams.values() for h in stream.histories.values())

    def close(self) -> None:
        """Drop all features."""
        self._streams.clear()

    def _stream(self, key: Hashable) -> _Stream:
        stream = self._streams.get(key)
        if stream is None:
            schedule: Any = self.schedule
            stream = self._streams[key] = _Stream(schedule.start() if self._learns else schedule)
            if len(self._streams) > self.max_keys:
                self._streams.popitem(last=False)
        self._streams.move_to_end(key)
        return stream
