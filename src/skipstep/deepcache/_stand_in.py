"""What a pipeline's `unet` slot holds while skipstep is attached."""

from __future__ import annotations

import copy
from typing import Any, Protocol

from ._proxy import UNetProxy


class _Run(Protocol):
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """One UNet call of the pipeline."""
        ...

    def finish(self) -> None:
        """The pipeline's call has ended."""
        ...


class StandIn(UNetProxy):
    """What the pipeline calls in place of its UNet; all but the call is the UNet's own. A copy is one of the UNet."""

    def __init__(self, unet: Any, run: _Run) -> None:
        super().__init__(unet, _run=run)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run.evaluate(*args, **kwargs)

    def _reset_stateful_cache(self, recurse: bool = True) -> None:  # diffusers calls it when a pipeline call ends
        self._run.finish()

    def __copy__(self) -> Any:
        return copy.copy(self._unet)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._unet, memo)
