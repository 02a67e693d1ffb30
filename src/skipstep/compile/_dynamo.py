"""torch.compile as this package uses it, whatever backend it is given."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import finalize

import torch
from torch import Tensor
from torch.fx.experimental import _config

from .backend import Graph

RECOMPILE_LIMIT = 64  # of one graph


def compiled(call: Callable[..., Any], settings: dict[str, Any]) -> Any:
    """The call, compiled as a function whose code and globals are its own.

    Torch counts graphs by the code that they were traced from and stops at 256 (`accumulated_recompile_limit`), which
    the `forward` of all passes would reach in a long-lived process. It puts what it made among the globals, where its
    guards hold it as long as the UNet lives.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    own = FunctionType(run.__code__.replace(), dict(run.__globals__), run.__name__, None, run.__closure__)
    graph: Any = torch.compile(own, **settings)
    finalize(graph, _let_go, own.__globals__)
    return graph


def _let_go(names: dict[str, Any]) -> None:
    """Of the values; torch will delete the names, and expects them to be there."""
    names.update(dict.fromkeys(names))


def trace(graph: Graph, example: tuple[Tensor, ...]) -> None:
    """Compile now, so that what goes wrong is known here."""
    # a first size that is square must not make a dynamic graph one for squares only
    with _config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
        graph(*example)


def replaying(graph: Graph) -> Graph:
    """Copies of the outputs, since the next replay writes over those of a recorded graph."""

    def replay(*tensors: Tensor) -> tuple[Tensor, ...]:
        torch.compiler.cudagraph_mark_step_begin()
        return tuple(output.clone() for output in graph(*tensors))

    return replay
