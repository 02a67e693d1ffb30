"""One pipeline call among several: it runs until its next UNet pass, waits for it, and goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from torch import Tensor

from ..deepcache import SplitMaker
from ..errors import MissingExtraError
from .unet_calls import FULL, REUSE, UNetCall

try:
    from greenlet import getcurrent, greenlet
except ImportError as error:
    raise MissingExtraError("batching needs greenlet: pip install 'skipstep[service]'") from error

T = TypeVar("T")


class RowCancelledError(Exception):
    """Raised inside a row's UNet call to end it."""


class Row(Generic[T]):
    """A function that draws with the split maker it is given; `call` is the pass that it waits for.

    It runs in a greenlet of the thread that starts it: nothing of a row runs at the same time as anything of another.
    """

    def __init__(self, draw: Callable[[SplitMaker], T], unet: Any) -> None:
        self._unet = unet
        self._greenlet = greenlet(lambda: draw(self._split))
        self.call: UNetCall | None = None
        self.result: T | None = None
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether it has a result or an error."""
        return bool(self._greenlet.dead)

    def begin(self) -> None:
        """Run up to the first UNet pass."""
        self._resume(self._greenlet.switch)

    def give(self, made: Any) -> None:
        """Hand over what the pass gave, and run up to the next."""
        self._resume(lambda: self._greenlet.switch(made))

    def fail(self, error: BaseException) -> None:
        """Raise the error in the UNet call that it waits for."""
        self._resume(lambda: self._greenlet.throw(error))

    def _resume(self, switch: Callable[[], Any]) -> None:
        self.call = None
        try:
            made = switch()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's
            self.error = error
            return
        if self._greenlet.dead:
            self.result = cast(T, made)
        else:
            self.call = made

    def _split(self, unet: Any, branches: tuple[int, ...], /) -> _RowSplit:
        if unet is not self._unet:
            raise ValueError("a row draws with another UNet than its batch")
        return _RowSplit(branches)


class _RowSplit:
    """The UNet as the session of one row sees it: one branch or several, whose passes are run by the batch."""

    def __init__(self, branches: tuple[int, ...]) -> None:
        self._branches = branches
        self.branch = branches[0]
        if len(branches) > 1:
            self.at = lambda branch: _RowSplit((branch,))  # only what mixes branches has it

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """A full pass of the batch; the features of each branch, or of the only one."""
        output, features = _wait(UNetCall.of(FULL, self._branches, args, kwargs))
        return output, features if len(self._branches) > 1 else features[self.branch]

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A reuse pass of the batch."""
        (output,) = _wait(UNetCall.of(REUSE, self._branches, args, kwargs, features))
        return output


def _wait(call: UNetCall) -> Any:
    return getcurrent().parent.switch(call)
