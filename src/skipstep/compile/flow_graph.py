"""A pass in the OneFlow process of its model."""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import WeakValueDictionary, finalize

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BackendError
from .aten import lower
from .backend import PassSpec
from .flow_process import Array, FlowProcess
from .flow_worker.operators import NAMES


class FlowModel:
    """The process of one model, started anew after it ended, and the passes that are to be in it."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._numbers = count()
        self._process: FlowProcess | None = None
        self._passes: WeakValueDictionary[int, FlowGraph] = WeakValueDictionary()
        self._live: set[int] = set()
        self._left: list[int] = []  # passes that nobody has any more, of which the process is still to be told

    @property
    def is_over(self) -> bool:
        """Whether none of its passes is left."""
        return not self._live

    @property
    def pid(self) -> int | None:
        """Of its process, if there is one."""
        return self._process.pid if self._process is not None and self._process.is_alive else None

    def process(self) -> FlowProcess:
        """The process; a new one if there is none."""
        if self._process is None or not self._process.is_alive:
            self._left.clear()
            self._process = FlowProcess(self._python)
        while self._left:
            self._process.drop(self._left.pop())
        return self._process

    def forget_ended(self) -> None:
        """Let go of a process that ended by itself, or was ended: the next call builds its pass in another."""
        if self._process is not None and self._process.has_ended:
            self._process.end()

    def join(self, graph: FlowGraph) -> int:
        """Count in a pass, whose number it is given; the process ends with the last of them."""
        number = next(self._numbers)
        self._passes[number] = graph
        self._live.add(number)
        finalize(graph, self._leave, number)
        return number

    def serves(self, module: nn.Module) -> bool:
        """Whether one of the passes has a weight in common with this one: they are of one model."""
        own = {id(weight) for weight in module.parameters()}
        return any(id(weight) in own for graph in self._passes.values() for weight in graph.module.parameters())

    def _leave(self, number: int) -> None:
        self._live.discard(number)
        self._left.append(number)  # told later: this may be called while something else is asked
        if not self._live and self._process is not None:
            self._process.end()


class FlowGraph:
    """Both the first call and one after the process was lost build the graph; weights are copies."""

    def __init__(self, model: FlowModel, module: nn.Module, spec: PassSpec, *, engine: str) -> None:
        self.module = module
        self._model, self._spec, self._engine = model, spec, engine
        self._lowered = lower(module, spec.example, known=NAMES)
        self._number = model.join(self)
        self._process: FlowProcess | None = None  # that it was built in
        self._built(spec.example)
        spec.counters.weight_bytes += sum(array.nbytes for array in self._weights().values())

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        if self._process is None or not self._process.is_alive:
            return self._built(tensors)
        return _tensors(self._process.run(self._number, self._inputs(tensors)))

    def refresh(self, module: nn.Module) -> None:
        """Copy the module's present weights over those of the graph, which stays."""
        self.module = module
        if self._process is not None and self._process.is_alive:
            with self._process.turn:
                self._process.weights(self._weights())
                self._process.refresh(self._number)

    def _built(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        process = self._model.process()
        try:
            made = self._asked_of(process, tensors)
        except BackendError:
            if not process.has_crashed:
                raise
            process = self._model.process()  # OneFlow 0.9.0 crashes in about one of a hundred builds, of any operator
            made = self._asked_of(process, tensors)
        self._process = process
        self._spec.counters.compiles += 1
        return _tensors(made)

    def _asked_of(self, process: FlowProcess, tensors: tuple[Tensor, ...]) -> list[Array]:
        lowered = self._lowered
        constants = {name: _array(tensor) for name, tensor in lowered.constants.items()}
        message: dict[str, Any] = {
            "pass": self._number,
            "engine": self._engine,
            "nodes": lowered.nodes,
            "inputs": [*lowered.inputs],
            "outputs": lowered.outputs,
        }
        with process.turn:
            process.weights({**self._weights(), **constants})
            return process.build(message, [node["operator"] for node in lowered.nodes], self._inputs(tensors))

    def _inputs(self, tensors: tuple[Tensor, ...]) -> list[Array]:
        return [_array(tensors[index]) for index in self._lowered.inputs.values()]

    def _weights(self) -> dict[str, Array]:
        own = {
            **dict(self.module.named_parameters(remove_duplicate=False)),
            **dict(self.module.named_buffers(remove_duplicate=False)),
        }
        return {name: _array(own[path]) for name, path in self._lowered.weights.items()}


def _array(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _tensors(arrays: list[np.ndarray[Any, Any]]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)
