"""The compiled passes of one split: made when first called for, kept, and given up when they fail."""

from __future__ import annotations

import logging
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ..errors import CompileFallbackWarning, WorkerLostError
from ._memory import raise_if_out_of_memory
from ._obstacle import Obstacle
from .backend import Backend, CompileOptions, Graph, PassSpec, RefreshableGraph, RestingGraph
from .counters import CompileCounters
from .eager import EagerBackend
from .verify import check_outputs

log = logging.getLogger("skipstep.compile")
Made = TypeVar("Made")
OnCompile = Callable[[str, float | None], None]  # what, and its seconds; None when it begins


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass that is to be compiled."""

    name: str  # for people
    module: nn.Module
    fingerprint: str  # for files


@dataclass(slots=True)
class _Entry:
    name: str
    module: nn.Module
    graph: Graph | None  # None: this pass runs eagerly
    is_resting: bool = False  # the graph needs the model's weights before it runs


class Graphs:
    """Graphs by what they were traced for; the one that was not used for longest makes room.

    A pass that cannot be compiled runs eagerly, and a warning says so once. Running out of memory is raised, and so is
    the end of another process that ran a graph.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        options: CompileOptions,
        counters: CompileCounters,
        on_compile: OnCompile | None = None,
    ) -> None:
        self._backend = backend
        self._options = options
        self._counters = counters
        self._on_compile = on_compile
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._told: set[Obstacle] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def __call__(self, key: Hashable, inputs: tuple[Tensor, ...], make: Callable[[], Pass]) -> tuple[Tensor, ...]:
        """What the graph for `key` makes of the inputs; `make` is asked for the pass if there is no such graph yet."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = self._compiled(make(), inputs)
            if len(self._entries) > self._options.max_graphs:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)
        if entry.is_resting:
            self._refresh(entry)
        return self._outputs(entry, inputs)

    def without(self, run: Callable[[], Made], obstacle: Obstacle) -> Made:
        """What a call makes that no graph can serve; why is said once."""
        if obstacle not in self._told and not isinstance(self._backend, EagerBackend):
            self._told.add(obstacle)
            what, reason = obstacle.what, obstacle.reason
            self._warn(f"{what}: {reason}", f"{what}, which run eagerly: {reason}")
        self._counters.eager += 1
        return run()

    def clear(self) -> None:
        """Let go of all."""
        self._entries.clear()

    def refresh(self) -> None:
        """Hand the model's present weights to the graphs that hold weights of their own."""
        try:
            for entry in self._entries.values():
                if hasattr(entry.graph, "refresh") and not entry.is_resting:
                    self._refresh(entry)
        except BaseException:  # an interrupt must not leave graphs with the weights of before
            self._entries.clear()
            raise

    def rest(self) -> None:
        """Have graphs let go of the model's weights, which each is handed again before it runs."""
        for entry in self._entries.values():
            if hasattr(entry.graph, "rest"):
                cast(RestingGraph, entry.graph).rest()
                entry.is_resting = True

    def _refresh(self, entry: _Entry) -> None:
        graph = cast(RefreshableGraph, entry.graph)
        try:
            graph.refresh(entry.module)
        except WorkerLostError:
            raise
        except Exception as error:  # noqa: BLE001  as of compiling, which some graphs do here
            self._give_up(entry.name, error)
            entry.graph = None
        else:
            self._counters.refreshes += 1
        entry.is_resting = False

    def _outputs(self, entry: _Entry, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if entry.graph is not None:
            try:
                outputs = entry.graph(*inputs)
            except WorkerLostError:  # this run ends; the graph is made anew for the next
                raise
            except Exception as error:  # noqa: BLE001  dynamic graphs are traced again for some sizes
                self._give_up(entry.name, error)
                entry.graph = None
            else:
                self._counters.hits += 1
                return outputs
        return self._eagerly(entry.module, inputs)

    def _eagerly(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self._counters.eager += 1
        made: tuple[Tensor, ...] = module(*inputs)
        return made

    def _compiled(self, made: Pass, inputs: tuple[Tensor, ...]) -> _Entry:
        spec = PassSpec(
            name=made.name,
            fingerprint=made.fingerprint,
            example=inputs,
            options=self._options,
            counters=self._counters,
        )
        self._tell(made.name, None)
        started = time.perf_counter()
        graph: Graph | None = None
        try:
            graph = self._backend.compile(made.module, spec)
            if self._options.verify and graph is not None:
                computed = torch.bfloat16 if self._options.precision == "bfloat16" else None
                check_outputs(made.module(*inputs), graph(*inputs), made.name, computed=computed)
        except WorkerLostError:
            raise
        except Exception as error:  # noqa: BLE001  a compiler may fail in any way, and the picture must come
            graph = None
            self._give_up(made.name, error)
        seconds = time.perf_counter() - started
        self._counters.seconds += seconds
        self._tell(made.name, seconds)
        return _Entry(made.name, made.module, graph)

    def _give_up(self, name: str, error: Exception) -> None:
        raise_if_out_of_memory(error)
        reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
        self._warn(f"{name}: {reason}", f"the {name}, which runs eagerly: {reason}")

    def _warn(self, failure: str, told: str) -> None:
        self._counters.failures.append(failure)
        warnings.warn(f"{self._backend.name} could not compile {told}", CompileFallbackWarning, stacklevel=2)

    def _tell(self, name: str, seconds: float | None) -> None:
        what = f"{self._backend.name}: {name}"
        if seconds is None:
            log.info("compiling %s", what)
        else:
            log.info("%s ready after %.1f s", what, seconds)
        if self._on_compile is not None:
            self._on_compile(what, seconds)
