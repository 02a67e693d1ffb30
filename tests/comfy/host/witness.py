"""What a run asked of the UNet, seen from outside of the cache, and what a cache should have done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from comfy.patcher_extension import WrappersMP

from .models import TinySDXL, TinySVD

Tiny = TypeVar("Tiny", TinySDXL, TinySVD)


@dataclass
class Witness:
    """The noise level of every evaluation of a run, and how often the UNet was called for in it."""

    sigmas: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def beside(self, tiny: Tiny) -> Tiny:
        """The same model, watched."""
        model = tiny.model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "witness", self._evaluation)
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "witness", self._call)
        return replace(tiny, model=model)

    def _evaluation(self, executor: Any, x: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        self.sigmas.append(float(timestep.flatten()[0]))
        self.calls.append(0)
        return executor(x, timestep, *args, **kwargs)

    def _call(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls[-1] += 1
        return executor(*args, **kwargs)


class Due:
    """When a call is a full pass: the first of its name, at every `interval`-th evaluation, and after it missed one.

    The n-th call of a name in an evaluation goes with the n-th in others.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._latest: dict[tuple[str, int], int] = {}

    def kinds(self, evaluation: int, names: Sequence[str]) -> str:
        """One letter for each call of the next evaluation: F full, r reuse."""
        return "".join(self._kind(evaluation, (name, names[:i].count(name))) for i, name in enumerate(names))

    def _kind(self, evaluation: int, key: tuple[str, int]) -> str:
        since = self._latest.get(key)
        self._latest[key] = evaluation
        if since is None:
            return "F"
        return "F" if any(at % self._interval == 0 for at in range(since + 1, evaluation + 1)) else "r"


def expected_passes(evaluations: Sequence[Sequence[str]], *, interval: int) -> str:
    """The passes of a run whose evaluations make these calls."""
    due = Due(interval)
    return "".join(due.kinds(evaluation, names) for evaluation, names in enumerate(evaluations))
