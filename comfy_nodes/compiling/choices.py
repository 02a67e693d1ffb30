"""What the widgets of compiling nodes stand for, and which backends there are on this machine."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch

from skipstep.compile import BACKENDS, CompileOptions, new_backend, oneflow_environment
from skipstep.errors import BackendError, MissingExtraError, OptionError, OutputError

DEFAULT, MAX_AUTOTUNE, CUDA_GRAPHS, REGIONAL = "default", "max autotune", "cuda graphs", "regional"
MODES = (DEFAULT, MAX_AUTOTUNE, CUDA_GRAPHS, REGIONAL)
EXACT, DYNAMIC = "exact", "dynamic"
SHAPES = (EXACT, DYNAMIC)
_PACKAGES = {"openvino": "pip install openvino", "onediff": "pip install onediff"}  # costly to import


def compile_options(*, mode: str = DEFAULT, shapes: str = EXACT, verify: bool = False) -> CompileOptions:
    """The options that the widgets ask for.

    Raises:
        OptionError: if there is no such mode or there are no such shapes.
        BackendError: if the mode needs a GPU that is not here.
    """
    for name, value, allowed in (("mode", mode, MODES), ("shapes", shapes, SHAPES)):
        if value not in allowed:
            raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if mode == CUDA_GRAPHS and not torch.cuda.is_available():
        raise BackendError("cuda graphs need an NVIDIA GPU, and torch finds none here; choose another mode")
    return CompileOptions(
        dynamic=shapes == DYNAMIC,
        cuda_graphs=mode == CUDA_GRAPHS,
        regional=mode == REGIONAL,
        max_autotune=mode == MAX_AUTOTUNE,
        verify=verify,
    )


@cache
def available_words() -> str:
    """A line for each backend: its version here, or why it cannot be used."""
    return "\n".join(f"{name}: {_words(name)}" for name in BACKENDS)


def _words(name: str) -> str:
    if name == "oneflow":
        environment = oneflow_environment()
        return f"in the environment of {environment.detail}" if environment.ok else environment.detail
    if name == "onediff" and find_spec(name) is None and oneflow_environment().ok:
        return "in the environment of OneFlow, if it was made with --onediff"
    if name in _PACKAGES:  # asked of in earnest by the node that uses it
        return "installed" if find_spec(name) is not None else f"not installed: {_PACKAGES[name]}"
    try:
        return str(new_backend(name).available())
    except (MissingExtraError, OutputError) as error:  # no folder to keep its graphs in
        return f"not available: {error}"
