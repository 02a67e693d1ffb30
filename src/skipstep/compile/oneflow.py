"""OneFlow: both passes as static graphs in a process of an older Python, which is all that OneFlow has wheels for."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import BackendError
from .backend import Availability, Graph, PassSpec
from .flow_worker import START

if TYPE_CHECKING:
    from .flow_graph import FlowGraph, FlowModel

VARIABLE = "SKIPSTEP_ONEFLOW_PYTHON"
MAKE_ONE = "cd tools && python -m oneflow_env FOLDER"
_PLACEHOLDER = "placeholder"
_PROBE_S = 120
_TYPES = (torch.float32, torch.float64, torch.int32, torch.int64, torch.bool)


@dataclass(frozen=True, kw_only=True)
class FlowHost:
    """The Python that `SKIPSTEP_ONEFLOW_PYTHON` names, as it was found."""

    python: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    problem: str = ""  # why it cannot be used, and what to do


def flow_host() -> FlowHost:
    """Ask the environment, by building and running a graph in it; never raises."""
    environment = oneflow_environment()
    if not environment.ok:
        return FlowHost(problem=environment.detail)
    python = environment.detail
    keep = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        line = [python, "-I", str(START), "probe"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=_PROBE_S, check=False, env=keep)
    except subprocess.TimeoutExpired:
        return FlowHost(problem=f"{python} takes more than {_PROBE_S} seconds to import OneFlow")
    except OSError as error:
        return FlowHost(problem=f"{python} cannot be started: {error.strerror or error}; see {VARIABLE}")
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return FlowHost(python=python, versions=json.loads(lines[-1]))
    return FlowHost(problem=_explained(python, done.returncode, done.stderr.strip().splitlines()))


def oneflow_environment() -> Availability:
    """The Python that is to be used, or why there is none: what can be said in no time."""
    python = os.environ.get(VARIABLE, "")
    if not hasattr(os, "memfd_create"):
        return Availability(False, "OneFlow 0.9.0 has wheels for Linux only")
    if not python:
        return Availability(
            False, f"not set up: make an environment with `{MAKE_ONE}`, then set {VARIABLE} to its python"
        )
    if not os.path.isfile(python) or not os.access(python, os.X_OK):
        return Availability(
            False, f"{VARIABLE} is {python!r}, which is no program; make an environment with `{MAKE_ONE}`"
        )
    return Availability(True, python)


def _explained(python: str, code: int, lines: list[str]) -> str:
    said = lines[-1] if lines else f"python ended with {code}"
    if any(_PLACEHOLDER in line for line in lines):
        return f"the oneflow of {python} is the placeholder package of PyPI, not OneFlow; `{MAKE_ONE}` installs 0.9.0"
    if "cannot open shared object file" in said:
        return f"libraries are missing: {said}; `{MAKE_ONE}` makes stand-ins for those of CUDA"
    if "No module named" in said:
        return f"{python} has no OneFlow ({said}); make an environment with `{MAKE_ONE}`"
    return said


class OneFlowBackend:
    """Hands passes to a OneFlow process, one for each model. Graphs hold copies of the weights."""

    name = "oneflow"
    supports: frozenset[str] = frozenset()
    copies_weights = True

    def __init__(self) -> None:
        self._passes = FlowPasses("oneflow")

    def available(self) -> Availability:
        """Whether a graph can be built and run in the environment; asked of it in earnest."""
        host = flow_host()
        if host.problem:
            return Availability(False, host.problem)
        return Availability(True, f"oneflow {host.versions['oneflow']}, Python {host.versions['python']}, for the CPU")

    def begin(self) -> None:
        """A run begins."""
        self._passes.begin()

    def compile(self, module: nn.Module, spec: PassSpec) -> Graph:
        """The graph of this pass, built anew: OneFlow 0.9.0 cannot save one."""
        return self._passes.graph(module, spec)


class FlowPasses:
    """Graphs in the processes of their models; `engine` is "oneflow", or "onediff" for OneDiff's compiler on it."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self.models: list[FlowModel] = []

    def begin(self) -> None:
        """Forget the processes that ended while nothing was asked of them."""
        for model in self.models:
            model.forget_ended()

    def graph(self, module: nn.Module, spec: PassSpec) -> FlowGraph:
        """A pass, built in the process of its model.

        Raises:
            ValueError: if OneFlow computes nothing of the kind on this machine.
            LoweringError, BackendError, WorkerLostError: as `lower` and `FlowProcess`.
        """
        from .flow_graph import FlowGraph, FlowModel  # they need numpy

        _check(spec)
        model = next((one for one in self.models if one.serves(module)), None)
        if model is None:
            environment = oneflow_environment()
            if not environment.ok:
                raise BackendError(environment.detail)
            model = FlowModel(environment.detail)
            self.models = [*(one for one in self.models if not one.is_over), model]
        return FlowGraph(model, module, spec, engine=self._engine)


def _check(spec: PassSpec) -> None:
    for tensor in spec.example:
        if not tensor.is_cpu:
            raise ValueError(f"OneFlow graphs are for models on the CPU here, got {tensor.device}")
        if tensor.dtype not in _TYPES:
            raise ValueError(f"OneFlow computes nothing in {tensor.dtype} on CPUs: load the UNet in float32")
