"""A ControlNet that runs through graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from skipstep.compile import CompileOptions, Compiler
from skipstep.deepcache import UNetProxy
from skipstep.errors import UnsupportedModelError

from .compilers import shared_compiler
from .static import static_control_net


def compile_control_net(control: Any, backend: str, options: CompileOptions) -> Any:
    """A copy of a `comfy.controlnet.ControlNet` with the same weights; the one given stays as it is.

    Raises:
        UnsupportedModelError: if it is of a kind that graphs are of no use to, with the reason.
        OptionError, BackendError: if the options contradict each other, or cannot be had here.
    """
    _check(control)
    control = static_control_net(control)
    network = getattr(control.control_model, "uncompiled", control.control_model)
    made = control.copy()
    made.previous_controlnet = control.previous_controlnet
    compiler = shared_compiler(control.control_model_wrapped, backend, options)
    made.control_model = CompiledControlNet(network, compiler)
    return made


def _check(control: Any) -> None:
    from comfy.controlnet import ControlLora, ControlNet, T2IAdapter

    if isinstance(control, ControlLora):
        raise UnsupportedModelError("a Control LoRA is built anew for every run, which would compile every time")
    if isinstance(control, T2IAdapter):
        raise UnsupportedModelError("a T2I-Adapter runs once for a whole picture, so that compiling it gains nothing")
    if not isinstance(control, ControlNet) or not isinstance(control.control_model_wrapped.model, nn.Module):
        raise UnsupportedModelError(f"{type(control).__name__} is not ComfyUI's own ControlNet, and cannot be compiled")


class CompiledControlNet(UNetProxy):
    """Stands for a ControlNet's network: its calls run compiled, and all else is the network's own."""

    uncompiled: Any
    compiler: Compiler
    parts: dict[int, Any]

    def __init__(self, network: Any, compiler: Compiler) -> None:
        super().__init__(network, uncompiled=network, compiler=compiler, parts={})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.uncompiled, "ControlNet", args, kwargs)

    def part(self, branch: int, make: Callable[[Any], Any]) -> Callable[..., Any]:
        """Part of the network, as `make` cuts it, compiled: what a reuse pass at this branch takes."""
        if branch not in self.parts:
            self.parts[branch] = make(self.uncompiled)
        return lambda *args, **kwargs: self._run(self.parts[branch], f"ControlNet at branch {branch}", args, kwargs)

    def _run(self, network: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls = self.compiler.calls(network, name=name)
        try:
            return calls(*args, **kwargs)
        finally:
            calls.rest()  # ComfyUI moves the weights when it needs the memory
