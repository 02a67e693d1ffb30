"""Which models a replica has, told to Ray Serve, which routes by it and says which has to go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from ray import serve


class _Kept:
    """A model that a replica has. Serve calls `__del__` when another takes its place."""

    def __init__(self, name: str, let_go: Callable[[str], None]) -> None:
        self._name = name
        self._let_go = let_go

    def __del__(self) -> None:
        self._let_go(self._name)


def noted_models(most: int | None, let_go: Callable[[str], None]) -> Callable[[str], Awaitable[Any]]:
    """A function that notes that a model is used; `let_go` is called with the one not used for longest beyond `most`.

    The engine's own thread loads models, and lets go of them, when it runs a job of another.
    """

    @serve.multiplexed(max_num_models_per_replica=-1 if most is None else most)
    async def note(name: str) -> _Kept:
        return _Kept(name, let_go)

    return cast("Callable[[str], Awaitable[Any]]", note)
