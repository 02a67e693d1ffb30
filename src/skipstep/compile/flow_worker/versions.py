"""What this environment has, and the stand-ins for CUDA's libraries that its packages are linked with."""

from __future__ import annotations

import ctypes
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

STAND_INS = "cuda-stand-ins"  # a folder of the environment


def preload() -> None:
    """Load the stand-ins, if the environment has any, so that nothing looks for libraries of these names."""
    for library in sorted((Path(sys.prefix) / STAND_INS).glob("*.so*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def versions() -> dict[str, Any]:
    """The versions of Python, OneFlow and, if there, OneDiff. Raises what importing OneFlow raises."""
    import oneflow

    found = {"python": platform.python_version(), "oneflow": oneflow.__version__}
    for package in ("onediff", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
