"""A split whose passes run as compiled graphs, one for each pass, branch and signature."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .backend import Backend, CompileOptions
from .counters import CompileCounters
from .graphs import Graphs, OnCompile, Pass
from .signature import CallTree, ambient, described, digest, machine
from .unet_cuts import PassCall, UNetCuts
from .watch import ModelWatch, traced_state

log = logging.getLogger("skipstep.compile")


class CompiledSplit:
    """Both passes of one UNet as graphs of a backend; `deepcache.UNetSplit` for one branch, `MixedSplit` for several.

    A call that cannot be compiled runs eagerly, and says so once. What is put on the UNet later (a LoRA, FreeU) is
    noticed at the next full pass, and both passes are compiled anew. Threads take turns, each for a whole pass.
    """

    def __init__(
        self,
        unet: Any,
        branches: tuple[int, ...],
        *,
        cuts: UNetCuts,
        backend: Backend,
        options: CompileOptions,
        counters: CompileCounters,
        model: Callable[[], str],
        turn: threading.RLock,
        on_compile: OnCompile | None = None,
    ) -> None:
        self.unet = unet
        self.branches = tuple(sorted(set(branches)))
        self.counters = counters
        self._options = options
        self._model = model
        self._turn = turn
        self._graphs = Graphs(backend=backend, options=options, counters=counters, on_compile=on_compile)
        self._cuts = cuts
        self._watch = ModelWatch(unet)

    @property
    def branch(self) -> int:
        """The only branch, or the shallowest."""
        return self.branches[0]

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The UNet's output and the deep features: of the one branch, or a dictionary by branch."""
        with self._turn:
            self._follow_model()
            call = self._cuts.full(args, kwargs)
            output, *features = self._run(call)
            kept = dict(zip(self.branches, features, strict=True))
            return call.finish(output), kept if len(kept) > 1 else kept[self.branch]

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output if its deep features at the one branch were `features`."""
        return self._reuse(self.branch, features, *args, **kwargs)

    def at(self, branch: int) -> _Branch:
        """The reuse pass of one of the branches."""
        return _Branch(self, branch)

    def rest(self) -> None:
        """Hold none of the model's weights until the next pass, so that a host may move them; code stays."""
        with self._turn:
            self._graphs.rest()

    def _reuse(self, branch: int, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        with self._turn:
            call = self._cuts.reuse(branch, features, args, kwargs)
            (output,) = self._run(call)
            return call.finish(output)

    def _follow_model(self) -> None:
        if self._watch.is_changed():
            if len(self._graphs):
                log.warning("the UNet was changed (a LoRA, FreeU, attention); its passes are compiled anew")
            self._graphs.clear()
            self._cuts.cut()
            self._watch = ModelWatch(self.unet)
        elif self._watch.are_weights_changed():
            self._cuts.weights_changed()
            self._graphs.refresh()

    def _run(self, call: PassCall) -> tuple[Tensor, ...]:
        # in one order, or the same call by position and by name would be two graphs
        tree, tensors = CallTree.of((), dict(sorted(call.inputs.items())))
        inputs = (*call.first, *tensors)
        obstacle = call.obstacle or tree.obstacle
        if obstacle is not None:
            return self._graphs.without(call.plainly or (lambda: call.make(tree)(*inputs)), obstacle)
        around = ambient(inputs[0].device)
        key = (call.name, call.branches, tree.key, around, () if self._options.dynamic else described(inputs))

        def make() -> Pass:
            name, module = f"{call.name}, {' x '.join(map(str, call.sample.shape))}", call.make(tree)
            state, here = traced_state(module), machine(inputs[0].device)
            return Pass(name, module, digest(self._model(), state, key, self._options.of_code, here))

        return self._graphs(key, inputs, make)


@dataclass(frozen=True, slots=True)
class _Branch:
    split: CompiledSplit
    branch: int

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Tensor]:
        """Output and this branch's features."""
        output, features = self.split.full(*args, **kwargs)
        return output, features[self.branch] if isinstance(features, dict) else features

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output if its deep features at this branch were `features`."""
        return self.split._reuse(self.branch, features, *args, **kwargs)
