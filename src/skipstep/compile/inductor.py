"""torch.compile with Inductor: one whole graph for each pass, or one for each repeated block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config

from ..deepcache import module_view
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
            "recompile_limit": 64,  # of one graph; torch 2.13's stubs do not know it
        }
        blocks = _repeated_blocks(module) if spec.options.regional else set()
        graph: Any = _with_compiled(blocks, module, settings) if blocks else _compiled(module, settings)
        # a first size that is square must not make a dynamic graph one for squares only
        with _config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            graph(*spec.example)  # compiles now, so that what goes wrong is known here
        return _marked(graph) if spec.options.cuda_graphs else graph


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


def _compiled(call: Callable[..., Any], settings: dict[str, Any]) -> Any:
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


def _marked(graph: Graph) -> Graph:
    """Copies of the outputs, since the next replay writes over those of a recorded graph."""

    def replay(*tensors: Tensor) -> tuple[Tensor, ...]:
        torch.compiler.cudagraph_mark_step_begin()
        return tuple(output.clone() for output in graph(*tensors))

    return replay


def _repeated_blocks(module: nn.Module) -> set[nn.Module]:
    """The blocks that diffusers calls repeated; a shallow reuse pass has none, and is compiled whole in little time."""
    unet: Any = module.unet
    names = getattr(unet, "_repeated_blocks", None)
    if not names:
        raise ValueError(f"{type(unet).__name__} names no repeated blocks, which regional compilation is of")
    return {block for block in unet.modules() if type(block).__name__ in names}


def _with_compiled(blocks: set[nn.Module], module: nn.Module, settings: dict[str, Any]) -> Any:
    """A view of the pass in which the blocks are compiled, by one call for all: alike ones share a graph."""
    run = _compiled(_call, settings)

    def view(part: nn.Module) -> nn.Module:
        if part in blocks:
            return _Region(part, run)
        children = {name: view(child) for name, child in part.named_children()}
        changed = {name: child for name, child in children.items() if child is not getattr(part, name)}
        made: nn.Module = module_view(part, **changed) if changed else part
        return made

    return view(module)


def _call(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return block(*args, **kwargs)


class _Region(nn.Module):
    """A block in a pass that is not compiled around it."""

    def __init__(self, block: nn.Module, run: Callable[..., Any]) -> None:
        super().__init__()
        self.block = block
        self._run = run

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's output."""
        return self._run(self.block, *args, **kwargs)
