"""Measures, on an uncached run, what the UNet's output suffers when its deep features come from elsewhere."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .report import FULL, PassLog
from .responses import Responses
from .split import UNetSplit, first_device
from .storage import FeatureStore, Place, in_turn


@dataclass(slots=True)
class _Past:
    features: deque[Place] = field(default_factory=deque)
    evaluations: int = 0


class ResponseSession:
    """Runs every pass in full and, beside it, one reuse pass for each of the latest `window` features.

    A stand-in for `DeepCacheSession` on a run whose outputs stay exactly the UNet's own. It holds `window` feature
    tensors per key and those of the pass that runs, kept as `store` says, and adds `window` reuse passes per
    evaluation; nothing is read from the device before `finish`. `evaluations` is that of `DeepCacheSession`.
    `guide` turns an output into what the sampler sees of it: with classifier-free guidance in one batch, the guided
    prediction, whose errors are larger where the two halves err apart.
    """

    def __init__(
        self,
        split: UNetSplit,
        responses: Responses,
        *,
        window: int = 12,
        max_keys: int = 64,
        guide: Callable[[Tensor], Tensor] | None = None,
        store: FeatureStore | None = None,
        evaluations: int | None = None,
    ) -> None:
        self.split = split
        self.responses = responses
        self.window = window
        self.max_keys = max_keys
        self.log = PassLog()
        self._guide = guide
        self._store = FeatureStore() if store is None else store
        self._evaluations = evaluations
        self._streams: OrderedDict[Hashable, _Past] = OrderedDict()
        self._inner: list[Tensor] = []

    def __call__(
        self,
        key: Hashable,
        *args: Any,
        log_sigma: float | None = None,
        evaluation: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The UNet's own output; what reuse would have made of it is noted. Arguments as of `DeepCacheSession`."""
        stream = self._streams.setdefault(key, _Past())
        self._streams.move_to_end(key)
        if evaluation is not None and evaluation != stream.evaluations:
            stream.features.clear()  # they are to be those of the evaluations just before
            stream.evaluations = evaluation
        if len(self._streams) > self.max_keys:
            self._streams.popitem(last=False)
        with self.log.timed(FULL, first_device(args, kwargs)):
            output, features = self.split.full(*args, **_untouched(kwargs))
        past = [*reversed(stream.features)]
        if stream.evaluations + 1 != self._evaluations:  # else none is to come that could use them
            stream.features.append(self._store.put(features))
            stream.features[-1].release()
        del features
        true = self._seen(output)

        def error(tensor: Tensor) -> Tensor:
            self.log.hold(device=self.cache_bytes, host=self.host_bytes)
            return (self._seen(self.split.reuse(tensor, *args, **_untouched(kwargs))) - true).flatten()

        errors = in_turn(past, error)
        stacked = torch.stack(errors) if errors else true.new_zeros(0, 1)
        self._note(stream.evaluations, stacked @ stacked.T / true.numel())
        self.log.hold(device=self.cache_bytes, host=self.host_bytes)
        while len(stream.features) > self.window:
            stream.features.popleft()
        stream.evaluations += 1
        if stream.evaluations == self._evaluations:
            stream.features.clear()
        return output

    def _seen(self, output: Any) -> Tensor:
        """The output as the sampler will see it, in float32."""
        tensor: Tensor = (output if isinstance(output, Tensor) else output[0]).float()
        return tensor if self._guide is None else self._guide(tensor)

    def _note(self, evaluation: int, inner: Tensor) -> None:
        while len(self._inner) < evaluation:  # not called for: nothing is known of it
            self._inner.append(inner.new_zeros(0, 0))
        if evaluation < len(self._inner):
            known = self._inner[evaluation]
            self._inner[evaluation] = known + inner if known.shape == inner.shape else known
        else:
            self._inner.append(inner)

    @property
    def cache_bytes(self) -> int:
        """Bytes of deep features held now on the UNet's device."""
        return sum(place.device_bytes for stream in self._streams.values() for place in stream.features)

    @property
    def host_bytes(self) -> int:
        """Bytes of deep features held now in host memory beside those."""
        return sum(place.host_bytes for stream in self._streams.values() for place in stream.features)

    def is_whole(self, evaluations: int) -> bool:
        """Whether as many evaluations ran; a pipeline call that raised leaves fewer."""
        return len(self._inner) == evaluations

    def finish(self) -> None:
        """Read what was measured into `responses`; waits for the device."""
        self.responses.add([inner.double().cpu().tolist() for inner in self._inner])

    def close(self) -> None:
        """Drop all features."""
        self._streams.clear()
        self._inner.clear()


def _untouched(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A copy of the arguments whose lists may be consumed: a UNet takes a T2I-Adapter's residuals out of theirs."""
    return {name: list(value) if isinstance(value, list) else value for name, value in kwargs.items()}
