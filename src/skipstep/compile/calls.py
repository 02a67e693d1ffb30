"""Calls of one method of a module as graphs: of a VAE, or of a ControlNet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from .backend import Backend, CompileOptions
from .counters import CompileCounters
from .graphs import Graphs, OnCompile, Pass
from .identity import module_identity
from .placement import Placement
from .signature import CallTree, ambient, described, digest, machine
from .watch import ModelWatch, traced_state


class CompiledCalls:
    """A method of a module, called as the method itself: a graph for each structure and shape of its arguments.

    It must be a function of its arguments and the module's weights, with at least one tensor among them. What it gives
    may be any structure of tensors, which is learned from one eager call unless `gives_tensor` says that it is one.
    What cannot be compiled runs eagerly, and says so once; a module that was changed is compiled anew.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        method: str,
        name: str,
        gives_tensor: bool,
        host: str,
        backend: Backend,
        options: CompileOptions,
        counters: CompileCounters,
        turn: threading.RLock,
        on_compile: OnCompile | None = None,
    ) -> None:
        self.module = module
        self._method = method
        self._name = name
        self._gives_tensor = gives_tensor
        self._host = host
        self._options = options
        self._turn = turn
        self._graphs = Graphs(backend=backend, options=options, counters=counters, on_compile=on_compile)
        self._structures: dict[Hashable, CallTree] = {}  # of what comes out, by that of what goes in
        self._watch_anew()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the method gives."""
        with self._turn:
            self._follow_module()
            tree, tensors = CallTree.of(args, dict(sorted(kwargs.items())))
            device = tensors[0].device
            obstacle = tree.obstacle or self._placement.obstacle(device)
            if obstacle is not None:
                return self._graphs.without(lambda: _bound(self.module, self._method)(*args, **kwargs), obstacle)
            key = (self._name, tree.key, ambient(device), () if self._options.dynamic else described(tensors))
            if tree.key not in self._structures:
                made = tensors[0] if self._gives_tensor else _bound(self.module, self._method)(*args, **kwargs)
                self._structures[tree.key] = CallTree.of((made,), {})[0]

            def make() -> Pass:
                module = _Call(self.module, self._method, tree)
                name = f"{self._name}, {' x '.join(map(str, tensors[0].shape))}"
                state, code = traced_state(module), module_identity(self.module, self._host)
                return Pass(name, module, digest(code, state, key, self._options.of_code, machine(device)))

            (output,), _ = self._structures[tree.key].rebuild(self._graphs(key, tensors, make))
            return output

    def rest(self) -> None:
        """Hold none of the module's weights until the next call."""
        with self._turn:
            self._graphs.rest()

    def _follow_module(self) -> None:
        if self._watch.is_changed():
            self._graphs.clear()
            self._structures.clear()
            self._watch_anew()
        elif self._watch.are_weights_changed():
            self._placement.touched()
            self._graphs.refresh()

    def _watch_anew(self) -> None:
        self._watch = ModelWatch(self.module)
        self._placement = Placement(self.module)


class _Call(nn.Module):
    """A call of the method as a module that takes tensors and returns tensors."""

    def __init__(self, module: nn.Module, method: str, call: CallTree) -> None:
        super().__init__()
        self.module = module
        self._method = method
        self._call = call

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors in what the method gives, in order."""
        args, kwargs = self._call.rebuild(tensors)
        leaves, _ = tree_flatten(_bound(self.module, self._method)(*args, **kwargs))
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))


def _bound(module: nn.Module, method: str) -> Callable[..., Any]:
    return module if method == "__call__" else getattr(module, method)
