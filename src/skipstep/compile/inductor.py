"""torch.compile with Inductor: one whole graph for each pass, or one for each repeated block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..deepcache import module_view
from ._dynamo import RECOMPILE_LIMIT, compiled, replaying, trace
from ._upstream import without_torch_warnings
from .backend import Availability, CompileOptions, Graph, PassSpec
from .counters import CompileCounters


class InductorBackend:
    """Compiles in this process; torch keeps the kernels in its own cache (TORCHINDUCTOR_CACHE_DIR) for later ones."""

    name = "inductor"
    supports = frozenset({"dynamic", "cuda_graphs", "regional", "max_autotune"})

    def available(self) -> Availability:
        """Whether torch can generate code here: Triton for CUDA, a C++ compiler for the CPU."""
        return inductor_availability()

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        """Traced without a break (`fullgraph`), or not at all."""
        settings: Any = {
            "backend": _counting(spec.counters, inductor_settings(spec.options)),
            "dynamic": spec.options.dynamic,
            "fullgraph": True,
            "recompile_limit": RECOMPILE_LIMIT,
        }
        blocks = _repeated_blocks(module) if spec.options.regional else set()
        graph: Any = _with_compiled(blocks, module, settings) if blocks else compiled(module, settings)
        trace(graph, spec.example)
        return replaying(graph) if spec.options.cuda_graphs else graph


def inductor_availability() -> Availability:
    """Whether Inductor can generate code on this machine."""
    if torch.cuda.is_available():
        try:
            import triton
        except ImportError:
            return Availability(False, "Inductor needs Triton on CUDA: pip install triton")
        return Availability(True, f"torch {torch.__version__}, triton {triton.__version__}")
    compiler = os.environ.get("CXX") or next((name for name in ("g++", "clang++") if shutil.which(name)), None)
    if compiler is None or shutil.which(compiler) is None:
        return Availability(False, "Inductor needs a C++ compiler on CPUs: install g++ or clang++, or set CXX")
    return Availability(True, f"torch {torch.__version__}, {compiler}")


def inductor_settings(options: CompileOptions) -> dict[str, Any]:
    """Inductor's own names for our options."""
    return {
        "triton.cudagraphs": options.cuda_graphs,
        "max_autotune": options.max_autotune,
        "coordinate_descent_tuning": options.max_autotune,
    }


def _counting(counters: CompileCounters, settings: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """Inductor as a dynamo backend, which is called once for each graph that is traced."""
    with without_torch_warnings():
        from torch._dynamo.utils import counters as totals
        from torch._inductor.compile_fx import compile_fx

    def compile_graph(graph: Any, inputs: Any) -> Any:
        found = totals["inductor"]["fxgraph_cache_hit"]
        made = compile_fx(graph, inputs, config_patches=settings)  # raises where dynamo has to trace again
        counters.compiles += 1
        counters.cached += totals["inductor"]["fxgraph_cache_hit"] - found
        return made

    return compile_graph


def _repeated_blocks(module: Any) -> set[nn.Module]:
    """The repeated blocks of a pass; a shallow reuse pass has none, and is compiled whole in little time."""
    part = getattr(module, "unet", module)
    names = getattr(module, "repeated", None) or getattr(part, "_repeated_blocks", None)  # ours, or diffusers'
    if not names:
        raise ValueError(f"{type(part).__name__} names no repeated blocks, which regional compilation is of")
    return {block for block in module.modules() if type(block).__name__ in names}


def _with_compiled(blocks: set[nn.Module], module: nn.Module, settings: dict[str, Any]) -> Any:
    """A view of the pass in which the blocks are compiled, by one call for all: alike ones share a graph."""
    run = compiled(_call, settings)
    untold = getattr(module, "untold", ())

    def view(part: nn.Module) -> nn.Module:
        if part in blocks:
            return _Region(part, run, untold)
        children = {name: view(child) for name, child in part.named_children()}
        changed = {name: child for name, child in children.items() if child is not getattr(part, name)}
        made: nn.Module = module_view(part, **changed) if changed else part
        return made

    return view(module)


def _call(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return block(*args, **kwargs)


class _Region(nn.Module):
    """A block in a pass that is not compiled around it; it is not told the arguments of these names."""

    def __init__(self, block: nn.Module, run: Callable[..., Any], untold: tuple[str, ...]) -> None:
        super().__init__()
        self.block = block
        self._run = run
        self._untold = untold

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's output."""
        told = {name: value for name, value in kwargs.items() if name not in self._untold}
        return self._run(self.block, *args, **told)
