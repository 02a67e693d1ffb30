"""A split whose passes run as compiled graphs, one for each pass, branch and signature."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..deepcache import DiffusersUNetSplit, tapped_cuts
from .backend import Backend, CompileOptions
from .counters import CompileCounters
from .graphs import Graphs, OnCompile, Pass
from .passes import FullPass, ReusePass
from .signature import CallTree, ambient, described, digest, machine, on_one_device
from .watch import ModelWatch, traced_state

log = logging.getLogger("skipstep.compile")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which pass, in words and by the skips that its code depends on."""

    name: str
    cuts: tuple[int, ...]
    make: Callable[[CallTree], nn.Module]


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
        self._output_class: Callable[[Tensor], Any] | None = None
        self._graphs = Graphs(backend=backend, options=options, counters=counters, on_compile=on_compile)
        self._cut()

    @property
    def branch(self) -> int:
        """The only branch, or the shallowest."""
        return self.branches[0]

    def full(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The UNet's output and the deep features: of the one branch, or a dictionary by branch."""
        with self._turn:
            self._follow_model()
            cut = self._taps[-1]
            args, kwargs = cut.before(args, kwargs)
            kind = _Kind("full pass", self.branches, lambda tree: FullPass(self._taps, tree))
            output, *features = self._run(kind, (), cut.named(args, kwargs))
            kept = dict(zip(self.branches, features, strict=True))
            return cut.after(output), kept if len(kept) > 1 else kept[self.branch]

    def reuse(self, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The UNet's output if its deep features at the one branch were `features`."""
        return self._reuse(self.branch, features, *args, **kwargs)

    def at(self, branch: int) -> _Branch:
        """The reuse pass of one of the branches."""
        return _Branch(self, branch)

    def _reuse(self, branch: int, features: Tensor, *args: Any, **kwargs: Any) -> Any:
        with self._turn:
            cut = self._cuts[branch]
            args, kwargs = cut.before((), cut.reuse_inputs(features, args, kwargs))
            kind = _Kind(f"reuse pass at branch {branch}", (branch,), lambda tree: ReusePass(cut, tree))
            (output,) = self._run(kind, (features,), cut.named(args, kwargs))
            return cut.after(output)

    def _cut(self) -> None:
        self._taps = tapped_cuts(self.unet, self.branches)
        self._cuts = {branch: DiffusersUNetSplit(self.unet, branch) for branch in self.branches}
        self._watch = ModelWatch(self.unet)

    def _follow_model(self) -> None:
        if self._watch.is_changed():
            if len(self._graphs):
                log.warning("the UNet was changed (a LoRA, FreeU, attention); its passes are compiled anew")
            self._graphs.clear()
            self._cut()
        elif self._watch.are_weights_changed():
            self._graphs.refresh()

    def _run(self, kind: _Kind, first: tuple[Tensor, ...], named: dict[str, Any]) -> Any:
        """Outputs of a pass, the UNet's own first, in the container that the caller wants."""
        call = {**on_one_device(named), "return_dict": False}
        # in one order, or the same call by position and by name would be two graphs
        tree, tensors = CallTree.of((), dict(sorted(call.items())))
        wrap = self._container(named, lambda: tree.rebuild(tensors)[1])
        inputs = (*first, *tensors)
        if tree.stranger is not None:
            output, *features = self._graphs.without(kind.make(tree), inputs, tree.stranger)
            return wrap(output), *features
        around = ambient(inputs[0].device)
        key = (kind.name, kind.cuts, tree.key, around, () if self._options.dynamic else described(inputs))

        def make() -> Pass:
            name, module = f"{kind.name}, {' x '.join(map(str, named['sample'].shape))}", kind.make(tree)
            state, here = traced_state(module), machine(inputs[0].device)
            return Pass(name, module, digest(self._model(), state, key, self._options.of_code, here))

        output, *features = self._graphs(key, inputs, make)
        return wrap(output), *features

    def _container(self, named: dict[str, Any], copied: Callable[[], dict[str, Any]]) -> Callable[[Tensor], Any]:
        """What the UNet puts its output into: a tuple, or its own class where `return_dict` is not False."""
        if not named.get("return_dict", True):
            return lambda output: (output,)
        if self._output_class is None:  # known only from an output; the UNet empties the lists that it is given
            self._output_class = type(self._taps[0].tapped(**{**copied(), "return_dict": True}))
            self._taps[0].take()
        return self._output_class


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
