"""What a pipeline's `unet` slot holds while skipstep is attached."""

from __future__ import annotations

import copy
from typing import Any, Protocol


class _Run(Protocol):
    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """One UNet call of the pipeline."""
        ...

    def finish(self) -> None:
        """The pipeline's call has ended."""
        ...


class StandIn:
    """What the pipeline calls in place of its UNet; all but the call is the UNet's own.

    It passes for the UNet in `isinstance`, and attributes are read from and written to the UNet, so that loading a
    LoRA, moving devices or reading the configuration act on the real one.
    """

    def __init__(self, unet: Any, run: _Run) -> None:
        object.__setattr__(self, "_unet", unet)
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "__module__", type(unet).__module__)  # diffusers notes where a component is from

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run.evaluate(*args, **kwargs)

    def _reset_stateful_cache(self, recurse: bool = True) -> None:  # diffusers calls it when a pipeline call ends
        self._run.finish()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._unet)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unet, name)

    def __dir__(self) -> list[str]:
        return dir(self._unet)

    def __copy__(self) -> Any:
        return copy.copy(self._unet)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self._unet, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:  # a copy or a pickle is one of the UNet
        return self._unet.__reduce_ex__(protocol)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._unet, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._unet, name)

    def __repr__(self) -> str:
        return repr(self._unet)
