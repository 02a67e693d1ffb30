"""A compiler that takes no time: its graphs have all of the model for constants, as it was when they were made."""

from __future__ import annotations

import copy
import warnings
from typing import Any

from skipstep.compile import Availability, PassSpec


class FrozenBackend:
    """Deep copies of the passes, which take weights anew only when they are handed to them."""

    name = "frozen"
    supports = frozenset({"dynamic", "regional"})

    def available(self) -> Availability:
        return Availability(True, "always here")

    def compile(self, module: Any, spec: PassSpec) -> Any:
        spec.counters.compiles += 1
        return _Frozen(module)


class SharingBackend(FrozenBackend):
    """The passes themselves, on the model's own weights."""

    def compile(self, module: Any, spec: PassSpec) -> Any:
        spec.counters.compiles += 1
        return module


class _Frozen:
    def __init__(self, module: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch renames the class of the call's tree specs
            self._copy = copy.deepcopy(module)

    def refresh(self, module: Any) -> None:
        self._copy.load_state_dict(module.state_dict())

    def __call__(self, *tensors: Any) -> Any:
        return self._copy(*tensors)
