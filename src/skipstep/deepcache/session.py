"""The state of one sampling run and the decision, per UNet call, to recompute or to reuse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .forecast import Forecast, VerbatimForecast
from .history import FeatureHistory, Position
from .report import FULL, REUSE, PassLog
from .schedule import LearningSchedule, MixedSchedule, ReuseSchedule
from .split import MixedSplit, UNetSplit, first_device
from .storage import FeatureStore


@dataclass(slots=True)
class _Stream:
    """One key's evaluations so far, the features of its latest full passes by branch, and what its schedule saw."""

    schedule: ReuseSchedule
    histories: dict[int, FeatureHistory] = field(default_factory=dict)
    evaluations: int = 0


class DeepCacheSession:
    """Features and counters of one sampling run, one entry per key.

    A key names what must never share features: the set of conditionings and the input shape. A key that was not seen
    before, or that was dropped because more than `max_keys` came after it, starts with a full pass: a wrong key costs
    time, never correctness. Not for use from two threads at once; every run has its own session.

    `store` says how features are kept. `evaluations` is the length of the run, where it is known: a key's features are
    dropped ahead of its last full pass or after its last reuse pass, not only when the session is closed.
    """

    def __init__(
        self,
        split: UNetSplit | MixedSplit,
        schedule: ReuseSchedule,
        forecast: Forecast | None = None,
        *,
        max_keys: int = 64,
        store: FeatureStore | None = None,
        evaluations: int | None = None,
    ) -> None:
        self.split = split
        self.schedule = schedule
        self.forecast: Forecast = VerbatimForecast() if forecast is None else forecast
        self._store = FeatureStore() if store is None else store
        self._evaluations = evaluations
        self._learns = isinstance(schedule, LearningSchedule)
        self._mixes = isinstance(schedule, MixedSchedule) and hasattr(split, "at")
        self.max_keys = max_keys
        self.log = PassLog()
        self._streams: OrderedDict[Hashable, _Stream] = OrderedDict()

    def __call__(
        self,
        key: Hashable,
        *args: Any,
        log_sigma: float | None = None,
        evaluation: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluate the UNet on `args` and `kwargs`, in full or reusing the features stored under `key`.

        `log_sigma` is the noise level of the call, for forecasts that go by it. `evaluation` is its number in the run,
        for keys that are not called at all of them; without it a key's calls are counted.
        """
        stream = self._stream(key)
        first, stream.evaluations = stream.evaluations, stream.evaluations if evaluation is None else evaluation
        device = first_device(args, kwargs)
        if stream.histories and not _is_due(stream.schedule, range(first, stream.evaluations + 1)):
            with self.log.timed(REUSE, device):
                output = self._reuse(stream, log_sigma, args, kwargs)
        else:
            self._make_room(stream)
            with self.log.timed(FULL, device):
                output, features = self.split.full(*args, **kwargs)
            self._keep(stream, log_sigma, features if isinstance(features, dict) else {self._branch: features})
        stream.evaluations += 1
        if self._is_last(stream.evaluations - 1):
            stream.histories.clear()
        return output

    def _reuse(self, stream: _Stream, log_sigma: float | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        evaluation = stream.evaluations
        branch = self._branch_at(stream, evaluation)
        split: Any = self.split
        if self._mixes:
            split = split.at(branch)
        features = self.forecast.predict(stream.histories[branch], Position(evaluation, log_sigma, branch))
        if self._store.prefetches and not self._learns:  # to learn may wait for the device, which has no work yet
            following = self._following(stream)
            for other, history in stream.histories.items():
                if other != following:
                    history.release()
            if following is not None:
                stream.histories[following].bring()  # beside the pass
            self._note()
        return split.reuse(features, *args, **kwargs)

    def _make_room(self, stream: _Stream) -> None:
        """Before a full pass: drop what its features will take the place of, so that they are not held together."""
        if self._learns:  # by comparing with what would have been forecast
            return
        if self._is_last(stream.evaluations) or self.forecast.history_size == 1:
            stream.histories.clear()
        for history in stream.histories.values():
            history.release()
            history.make_room()

    def _keep(self, stream: _Stream, log_sigma: float | None, features: dict[int, Tensor]) -> None:
        """After a full pass: store its features, unless no pass is to come that could use them."""
        evaluation = stream.evaluations
        schedule: Any = stream.schedule
        if self._is_last(evaluation):
            return
        if self._learns:
            for branch, history in stream.histories.items():
                at = Position(evaluation, log_sigma, branch)
                schedule.compare(evaluation, self.forecast.predict(history, at), features[branch])
        following = self._following(stream)
        for branch, tensor in features.items():
            history = stream.histories.setdefault(branch, FeatureHistory(self.forecast.history_size, self._store))
            history.make_room()
            if branch == following:
                history.bring()  # ahead of copying to the host, for which nobody waits
            history.add(Position(evaluation, log_sigma, branch), tensor)
            if branch != following:
                history.release()
        self._note()

    def _note(self) -> None:
        self.log.hold(device=self.cache_bytes, host=self.host_bytes)

    def _following(self, stream: _Stream) -> int | None:
        """The branch of the key's next pass, where that is a reuse pass and its features are to be brought ahead."""
        following = stream.evaluations + 1
        if not self._store.prefetches or following == self._evaluations or stream.schedule.is_full(following):
            return None
        return self._branch_at(stream, following)

    def _branch_at(self, stream: _Stream, evaluation: int) -> int:
        schedule: Any = stream.schedule
        return schedule.branch_at(evaluation) if self._mixes else self._branch

    def _is_last(self, evaluation: int) -> bool:
        return self._evaluations is not None and evaluation == self._evaluations - 1

    @property
    def _branch(self) -> int:
        return getattr(self.split, "branch", 0)

    def reuse_branch(self, key: Hashable, evaluation: int) -> int | None:
        """The branch of the key's call at `evaluation` if that is sure to be a reuse pass; None if it may be full."""
        stream = self._streams.get(key)
        if stream is None or not stream.histories or self._learns:
            return None
        if _is_due(stream.schedule, range(stream.evaluations, evaluation + 1)):
            return None
        return self._branch_at(stream, evaluation)

    @property
    def cache_bytes(self) -> int:
        """Bytes of deep features held now on the UNet's device."""
        return sum(h.device_bytes for stream in self._streams.values() for h in stream.histories.values())

    @property
    def host_bytes(self) -> int:
        """Bytes of deep features held now in host memory beside those."""
        return sum(h.host_bytes for stream in self._streams.values() for h in stream.histories.values())

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


def _is_due(schedule: ReuseSchedule, evaluations: range) -> bool:
    """Whether one of these is to be a full pass: the one that runs, or one that another cache left out before it."""
    return any(map(schedule.is_full, evaluations))
