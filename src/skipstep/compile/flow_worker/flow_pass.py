"""A pass as a graph of OneFlow's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import oneflow as flow

from .program import Program

Array = np.ndarray[Any, Any]


class FlowPass:
    """Compiled by its first call. Weights are the graph's own, which it reads where they are."""

    def __init__(self, program: Program, weights: dict[str, Array]) -> None:
        self._module = _Module(program, weights).eval()
        self._graph = _Graph(self._module)

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs."""
        with flow.no_grad():
            made = self._graph(*(flow.tensor(array) for array in arrays))
            return [tensor.numpy() for tensor in (made if isinstance(made, (tuple, list)) else (made,))]

    def refresh(self, weights: dict[str, Array]) -> None:
        """Write these over the weights of the same names."""
        own = dict(self._module.named())
        with flow.no_grad():
            for name, array in weights.items():
                own[name].copy_(flow.tensor(array))


class _Module(flow.nn.Module):  # type: ignore[misc]
    def __init__(self, program: Program, weights: dict[str, Array]) -> None:
        super().__init__()
        self._program = program
        self._names = [*weights]
        for number, array in enumerate(weights.values()):
            weight = flow.nn.Parameter(flow.tensor(array), requires_grad=False)
            self.register_parameter(f"weight_{number}", weight)

    def named(self) -> Iterator[tuple[str, Any]]:
        for number, name in enumerate(self._names):
            yield name, getattr(self, f"weight_{number}")

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        return self._program.run(flow, dict(self.named()), tensors)


class _Graph(flow.nn.Graph):  # type: ignore[misc]
    def __init__(self, module: _Module) -> None:
        super().__init__()
        self.module = module

    def build(self, *tensors: Any) -> Any:
        return self.module(*tensors)
