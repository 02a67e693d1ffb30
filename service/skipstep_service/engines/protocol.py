"""What the worker needs of an engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file that was made; `encode` gives its bytes, and may take long."""

    name: str
    media_type: str
    encode: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What one row gave."""

    outputs: tuple[Output, ...]
    report: dict[str, Any]  # plain enough for JSON: passes, times, what really ran


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row: a job has one for each of its pictures.

    `key` says which can share a batch; rows of one `kind` take time by their `work`, in any unit.
    """

    key: Hashable
    run: Any  # what the engine made of the request
    kind: str
    work: float


class Listener(Protocol):
    """Is told how a row gets on, in the worker's thread."""

    def on_pass(self, evaluation: int, evaluations: int, kind: str) -> None:
        """An evaluation of the UNet ended, "F" full or "r" reuse."""
        ...

    def on_preview(self, step: int, jpeg: bytes) -> None:
        """How the picture looks by now."""
        ...

    @property
    def wants_previews(self) -> bool:
        """Whether `on_preview` is to be called."""
        ...


@dataclass(slots=True, kw_only=True)
class Handle:
    """A row from its start to its end."""

    made: Made | None = None
    error: BaseException | None = None
    is_done: bool = False
    inner: Any = field(default=None, repr=False)


class Rows(Protocol):
    """A batch that runs."""

    @property
    def count(self) -> int:
        """Rows in it."""
        ...

    @property
    def is_joinable(self) -> bool:
        """Whether a row that starts now would share the next pass."""
        ...

    def start(self, task: Task, listener: Listener) -> Handle:
        """Take in a row; it may be done at once."""
        ...

    def step(self) -> None:
        """Run one pass."""
        ...

    def cancel(self, handle: Handle) -> None:
        """End a row."""
        ...


class Engine(Protocol):
    """Draws what jobs ask for. All but `tasks`, `let_go` and `close` is called by the worker's thread alone."""

    def tasks(self, kind: str, request: dict[str, Any], pictures: dict[str, bytes]) -> list[Task]:
        """The rows of a job, from its request as JSON and the files that came with it.

        Raises:
            skipstep.errors.SkipstepError: if they cannot be made, with the reason.
        """
        ...

    def warm_up(self) -> None:
        """Load what is to be ready before the first job."""
        ...

    def open(self, key: Hashable) -> Rows:
        """An empty batch for rows of this key."""
        ...

    def let_go(self, model: str) -> None:
        """Have a model's memory given back before another is loaded, unless it is used meanwhile."""
        ...

    def close(self, timeout_s: float) -> None:
        """End what goes on in the background; it is left alone after that time."""
        ...
