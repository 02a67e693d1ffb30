"""A pass as OneDiff's own `oneflow_compile` makes it, of a torch module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .onediff_names import give_onediff_its_names
from .program import Program

Array = np.ndarray[Any, Any]


class OneDiffPass:
    """Compiled by its first call. OneDiff shares the weights of the torch module with the graph."""

    def __init__(self, program: Program, weights: dict[str, Array]) -> None:
        os.environ["ONEDIFF_DEBUG"] = "1"  # or a failed graph would be tried again, which aborts
        give_onediff_its_names()
        import oneflow as flow
        from onediff.infer_compiler import OneflowCompileOptions, oneflow_compile
        from onediff.infer_compiler.backends.oneflow.transform import register

        # OneDiff would look for the source of the class in a package
        register(torch2oflow_class_map={TorchPass: _flow_pass(flow)})
        self._module = TorchPass(program, weights).eval()
        self._compiled = oneflow_compile(self._module, options=OneflowCompileOptions(dynamic=False))

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs."""
        with torch.no_grad():
            made = self._compiled(*(torch.from_numpy(array) for array in arrays))
            return [tensor.numpy() for tensor in (made if isinstance(made, (tuple, list)) else (made,))]

    def refresh(self, weights: dict[str, Array]) -> None:
        """Write these over the weights of the same names."""
        numbers = {name: number for number, name in enumerate(self._module.names)}
        with torch.no_grad():
            for name, array in weights.items():
                getattr(self._module, f"weight_{numbers[name]}").copy_(torch.from_numpy(array))


class TorchPass(torch.nn.Module):
    """The pass in torch 2.0."""

    def __init__(self, program: Program, weights: dict[str, Array]) -> None:
        super().__init__()
        self.program = program
        self.names = [*weights]
        self.truths = [name for name, array in weights.items() if array.dtype == bool]
        for number, array in enumerate(weights.values()):
            # OneDiff hands them over by DLPack, which in torch 2.0 has no truth values; OneFlow's compiler has no bytes
            known = array.astype(np.float32 if array.dtype == bool else array.dtype)
            weight = torch.nn.Parameter(torch.from_numpy(known), requires_grad=False)
            self.register_parameter(f"weight_{number}", weight)

    def forward(self, *tensors: Any) -> tuple[Any, ...]:
        """What torch makes of it."""
        return self.program.run(torch, _named(self, torch.bool), tensors)


def _flow_pass(flow: Any) -> type[Any]:
    class FlowPass(flow.nn.Module):  # type: ignore[misc]
        """The same in OneFlow: OneDiff gives it the weights and the attributes of the torch module."""

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            made: tuple[Any, ...] = self.program.run(flow, _named(self, flow.bool), tensors)
            return made

    return FlowPass


def _named(module: Any, truth: Any) -> dict[str, Any]:
    named = {name: getattr(module, f"weight_{number}") for number, name in enumerate(module.names)}
    return {**named, **{name: named[name].to(truth) for name in module.truths}}
