"""Runs of a MODEL that ComfyUI's own `TorchCompileModel` was put on: both passes compiled, as it was asked to.

That node swaps the whole UNet for a compiled one inside of each call. A cache around the UNet would be traced with it
and frozen, so the swap is left out of this run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from skipstep.compile import CompileOptions, Compiler, TorchCompileBackend
from skipstep.deepcache.pipeline import SplitMaker
from skipstep.errors import BackendError

from .speedup import Speedup

log = logging.getLogger(__name__)
_OF_WHOLE_MODELS = ("guard_filter_fn",)  # options of torch.compile that are about what our passes do not have


def run_compiler(speedup: Speedup, guider: Any) -> SplitMaker | None:
    """What makes the passes of this run, whose options are the guider's own.

    Raises:
        BackendError: if its graphs could not follow what the run does with weights.
    """
    asked = _taken_over(guider)
    if asked is not None and speedup.compiler is not None:
        log.info("skipstep compiles this run; TorchCompileModel is left out of it")
    compiler = speedup.compiler
    if compiler is None and asked is not None:
        compiler = _compiler(guider.model_patcher.model, asked)
    if getattr(compiler, "copies_weights", False) and _has_hooks(guider):
        raise BackendError(
            "hooks change the weights of this model during the run, and the graphs of this backend hold copies of "
            "them; choose inductor or aot, or take the hooks out"
        )
    return compiler


def _taken_over(guider: Any) -> Mapping[str, Any] | None:
    """The arguments of torch.compile, if the model was to be compiled; it is not, in this run."""
    from comfy.patcher_extension import WrappersMP
    from comfy_api.torch_helpers.torch_compile import COMPILE_KEY, TORCH_COMPILE_KWARGS

    wrappers = guider.model_options.get("transformer_options", {}).get("wrappers", {})
    if wrappers.get(WrappersMP.APPLY_MODEL, {}).pop(COMPILE_KEY, None) is None:
        return None
    asked: Mapping[str, Any] = guider.model_options.get(TORCH_COMPILE_KWARGS) or {}
    return asked


def _compiler(model: Any, asked: Mapping[str, Any]) -> Compiler:
    """The same for all runs of a model that ask for the same."""
    from ..compiling.compilers import kept_compiler

    options = {name: value for name, value in (asked.get("options") or {}).items() if name not in _OF_WHOLE_MODELS}
    backend, mode, whole = asked.get("backend", "inductor"), asked.get("mode"), bool(asked.get("fullgraph"))
    dynamic = bool(asked.get("dynamic"))

    def make() -> Compiler:
        made = TorchCompileBackend(backend, mode=mode, options=options, fullgraph=whole)
        return Compiler(made, CompileOptions(dynamic=dynamic))

    key = ("torch.compile", backend, mode, repr(sorted(options.items())), whole, dynamic)
    return kept_compiler(model, key, make)


def _has_hooks(guider: Any) -> bool:
    return any(one.get("hooks") is not None for listed in guider.conds.values() for one in listed)
