"""Measures, on an uncached run, what the UNet's output suffers when its deep features come from elsewhere."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .calibrated import MAX_REACH, SlopeTable
from .forecast import straight_reach
from .report import FULL, PassLog
from .session import UNetSplit, first_device

TRUSTED = (0.4, 0.65)  # explained share of the verbatim error from which a fit counts, and from which it is all

Matrix = list[list[float]]


@dataclass
class Responses:
    """Inner products of output errors, summed over runs.

    `inner[i][a][b]` belongs to evaluation i: the product of the errors that its output has when the deep features are
    verbatim those of evaluation i - 1 - a, and of evaluation i - 1 - b, per element of the output. Errors of forecasts
    follow from these to first order, since a forecast is a weighted sum of stored features whose weights sum to 1.
    """

    branch: int
    log_sigmas: tuple[float, ...] | None
    inner: list[Matrix] = field(default_factory=list)
    runs: int = 0

    def add(self, inner: list[Matrix]) -> None:
        """Count one more run of as many evaluations."""
        if not self.runs:
            self.inner = inner
        else:
            pairs = zip(self.inner, inner, strict=True)
            self.inner = [
                [[x + y for x, y in zip(u, v, strict=True)] for u, v in zip(a, b, strict=True)] for a, b in pairs
            ]
        self.runs += 1

    def error(self, evaluation: int, previous: int | None, last: int, reach: float) -> float:
        """Mean squared output error at `evaluation` of F_last + reach * (F_last - F_previous)."""
        inner, near = self.inner[evaluation], evaluation - 1 - last
        verbatim = inner[near][near]
        if previous is None or not reach:
            return verbatim / self.runs
        far = evaluation - 1 - previous
        cross = verbatim - inner[far][near]
        spread = verbatim - 2 * inner[far][near] + inner[far][far]
        return max(verbatim + 2 * reach * cross + reach * reach * spread, 0.0) / self.runs

    def reach(self, evaluation: int, previous: int, last: int) -> float:
        """The fitted reach, leaning to the straight line's where the fit explains little.

        A fit to noise is shorter than the straight line, and a shrunk forecast errs to the same side at every
        evaluation, which adds up in the latent; a straight line's errors cancel (docs/forecast.md).
        """
        straight = straight_reach(last - previous, evaluation - last)
        inner, near, far = self.inner[evaluation], evaluation - 1 - last, evaluation - 1 - previous
        verbatim = inner[near][near]
        spread = verbatim - 2 * inner[far][near] + inner[far][far]
        if verbatim <= 0 or spread <= 0:
            return straight
        fitted = (inner[far][near] - verbatim) / spread
        explained = 1 - self.error(evaluation, previous, last, fitted) * self.runs / verbatim
        trust = min(max((explained - TRUSTED[0]) / (TRUSTED[1] - TRUSTED[0]), 0.0), 1.0)
        reach = straight + trust * (fitted - straight)
        return min(max(reach, 0.0), MAX_REACH * straight)

    def covers(self, evaluation: int, earlier: int) -> bool:
        """Whether features of `earlier` were tried at `evaluation`."""
        return evaluation - 1 - earlier < len(self.inner[evaluation])

    def slope_table(self, width: int = 8) -> SlopeTable:
        """Fitted factors on the straight line's reach for gaps up to `width`."""
        count = len(self.inner)
        return SlopeTable(
            branch=self.branch,
            log_sigmas=self.log_sigmas or (),
            factors={
                (gap, ahead): tuple(self._factor(index, gap, ahead) for index in range(count))
                for gap in range(1, width + 1)
                for ahead in range(1, width + 1)
            },
        )

    def _factor(self, evaluation: int, gap: int, ahead: int) -> float | None:
        previous = evaluation - ahead - gap
        if previous < 0 or not self.covers(evaluation, previous):
            return None
        return self.reach(evaluation, previous, evaluation - ahead) / straight_reach(gap, ahead)


@dataclass(slots=True)
class _Past:
    features: deque[Tensor]
    evaluations: int = 0


class ResponseSession:
    """Runs every pass in full and, beside it, one reuse pass for each of the latest `window` features.

    A stand-in for `DeepCacheSession` on a run whose outputs stay exactly the UNet's own. It holds `window` feature
    tensors per key and adds `window` reuse passes per evaluation; nothing is read from the device before `finish`.
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
    ) -> None:
        self.split = split
        self.responses = responses
        self.window = window
        self.max_keys = max_keys
        self.log = PassLog()
        self._guide = guide
        self._streams: OrderedDict[Hashable, _Past] = OrderedDict()
        self._inner: list[Tensor] = []

    def __call__(self, key: Hashable, *args: Any, log_sigma: float | None = None, **kwargs: Any) -> Any:
        """The UNet's own output; what reuse would have made of it is noted."""
        stream = self._streams.setdefault(key, _Past(deque(maxlen=self.window)))
        self._streams.move_to_end(key)
        if len(self._streams) > self.max_keys:
            self._streams.popitem(last=False)
        with self.log.timed(FULL, first_device(args, kwargs)):
            output, features = self.split.full(*args, **_untouched(kwargs))
        true = self._seen(output)
        errors = [
            self._seen(self.split.reuse(past, *args, **_untouched(kwargs))) - true for past in reversed(stream.features)
        ]
        stacked = torch.stack([error.flatten() for error in errors]) if errors else true.new_zeros(0, 1)
        self._note(stream.evaluations, stacked @ stacked.T / true.numel())
        stream.features.append(features)
        stream.evaluations += 1
        self.log.cache_bytes = max(self.log.cache_bytes, self.cache_bytes)
        return output

    def _seen(self, output: Any) -> Tensor:
        """The output as the sampler will see it, in float32."""
        tensor: Tensor = output[0].float()
        return tensor if self._guide is None else self._guide(tensor)

    def _note(self, evaluation: int, inner: Tensor) -> None:
        if evaluation < len(self._inner):
            known = self._inner[evaluation]
            self._inner[evaluation] = known + inner if known.shape == inner.shape else known
        else:
            self._inner.append(inner)

    @property
    def cache_bytes(self) -> int:
        """Bytes of deep features held now."""
        held = (features for stream in self._streams.values() for features in stream.features)
        return sum(features.numel() * features.element_size() for features in held)

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
