"""What compiled code asks of the machine that runs it: compilers use every instruction of the one that they run on."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path

import torch

from .signature import digest

_CPU = Path("/proc/cpuinfo")
_FEATURES = ("flags", "Features")  # x86's and Arm's


@cache
def host_identity() -> str:
    """The same on machines that run each other's code: system, C library, processor, Python, torch and its CUDA."""
    return digest(
        platform.system(),
        platform.machine(),
        platform.libc_ver(),
        cpu_features(),
        sys.implementation.cache_tag,
        torch.__version__,
        torch.version.cuda,
    )


def cpu_features() -> tuple[str, ...]:
    """The instructions that the processor has; its name where the system does not list them."""
    try:
        lines = _CPU.read_text(encoding="utf-8").splitlines()
    except OSError:
        return (platform.processor(),)
    listed = next((line for line in lines if line.startswith(_FEATURES)), "")
    return tuple(sorted(listed.partition(":")[2].split())) or (platform.processor(),)
