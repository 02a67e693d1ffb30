"""OneDiff both ways: our passes through its compilers, and our compilers under its `compile_pipe`.

OneDiff 1.2.0 is the last release. Its own compilers are OneFlow (nightly builds, or 0.9.0 in an environment of its own)
and nexfort, which needs a GPU.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from torch import nn

from .backend import Availability, CompileOptions, Graph, PassSpec
from .oneflow import MAKE_ONE, FlowPasses, flow_host

ENGINES = ("oneflow", "nexfort")
REGISTERED = "skipstep"


class OneDiffBackend:
    """Hands each pass to OneDiff's compilers: in this Python, or on the OneFlow host if this one has none.

    `engine` is a name in its registry, of this Python then. On a OneFlow host it is `oneflow_compile`, and graphs hold
    copies of the weights.
    """

    name = "onediff"
    supports: frozenset[str] = frozenset()

    def __init__(self, engine: str | None = None) -> None:
        self._engine = engine
        self._passes: FlowPasses | None = None  # on a OneFlow host

    @property
    def copies_weights(self) -> bool:
        """Whether graphs are in another process."""
        return self._passes is not None

    def begin(self) -> None:
        """A run begins."""
        if self._passes is not None:
            self._passes.begin()

    def available(self) -> Availability:
        """Whether OneDiff and one of its engines import; asked in another process, which an engine may abort."""
        here = self._available_here()
        if here.ok or self._engine is not None:
            return here
        host = flow_host()
        if "onediff" in host.versions:
            self._passes = FlowPasses("onediff")
            found = host.versions
            of = f"oneflow {found['oneflow']}, Python {found['python']}, for the CPU"
            return Availability(True, f"onediff {found['onediff']} on {of}")
        lacking = host.problem or f"{host.python} has no OneDiff; `{MAKE_ONE} --onediff` installs it"
        return Availability(False, f"{here.detail}; nor is there a OneFlow host with it: {lacking}")

    def _available_here(self) -> Availability:
        version = _imports("onediff", "import onediff; print(onediff.__version__)")
        if not version.ok:
            return Availability(False, f"OneDiff is not installed: pip install onediff ({version.detail})")
        here = f"onediff {version.detail}"
        if self._engine is not None and self._engine not in ENGINES:
            if _is_registered(self._engine):
                return Availability(True, f"{here}, {self._engine}")
            return Availability(False, f"{here} has no backend {self._engine!r}; register it with OneDiff first")
        reasons = []
        for engine in ENGINES if self._engine is None else (self._engine,):
            found = _imports(engine, f"import {engine}; print({engine}.__version__)")
            if found.ok:
                return Availability(True, f"{here}, {engine} {found.detail}")
            reasons.append(f"{engine}: {found.detail}")
        return Availability(False, f"{here} is here, but no engine of its own ({'; '.join(reasons)})")

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        """The pass as OneDiff compiles it."""
        if self._passes is not None:
            return self._passes.graph(module, spec)
        from onediff.infer_compiler import compile as onediff_compile

        engine = self._engine or next(name for name in ENGINES if _imports(name, f"import {name}; print()").ok)
        graph: Any = onediff_compile(module, backend=engine)
        graph(*spec.example)
        spec.counters.compiles += 1
        return lambda *tensors: tuple(graph(*tensors))


def register_with_onediff(name: str = REGISTERED) -> None:
    """Make our backends known to OneDiff: then `onediffx.compile_pipe(pipe, backend="skipstep")` works.

    `options` of `compile_pipe` may be {"backend": "inductor", "options": CompileOptions(...)}. The UNet is compiled;
    other modules are left as they are. `skipstep.attach` takes such a pipeline and reuses features with both passes
    compiled.

    Raises:
        MissingExtraError: if OneDiff is not installed.
    """
    from ..errors import MissingExtraError

    try:
        from onediff.infer_compiler.backends import registry
    except ImportError as error:
        raise MissingExtraError("OneDiff is not installed: pip install onediff onediffx") from error
    if name not in registry._BACKENDS:  # registering twice fails an assertion there
        registry.register_backend(name)(_compile_for_onediff)


def _compile_for_onediff(module: Any, *, options: dict[str, Any] | None = None) -> Any:
    from .compiled_unet import CompiledUNet
    from .compiler import Compiler

    if not hasattr(module, "down_blocks") or not hasattr(module, "up_blocks") or not hasattr(module, "mid_block"):
        return module
    chosen = options or {}
    compiler = Compiler(chosen.get("backend", "inductor"), chosen.get("options") or CompileOptions())
    return CompiledUNet(module, compiler)


def _is_registered(engine: str) -> bool:
    from onediff.infer_compiler.backends import registry

    return engine in registry._BACKENDS


def _imports(package: str, code: str) -> Availability:
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return Availability(False, f"importing {package} takes more than two minutes")
    except OSError as error:
        return Availability(False, f"python cannot be started to import {package}: {error}")
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = lines[-1] if lines else f"python ended with {done.returncode}"
    return Availability(done.returncode == 0, last)
