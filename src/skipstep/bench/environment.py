"""What the figures of a benchmark depend on besides the case, and nothing of where on the machine it ran."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import resources
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import torch

from ..engine.environment import installed_version
from .result import BenchResult

PACKAGES = (
    "skipstep",
    "torch",
    "triton",
    "diffusers",
    "transformers",
    "accelerate",
    "openvino",
    "onediff",
    "DeepCache",
)
VARIABLES = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "TORCHINDUCTOR_FREEZING")
_PART = r"[^\s/\\:'\"|,;()<>\[\]]+"
_PATH = re.compile(rf"(?<![\w.~:/\\-])([A-Za-z]:)?[/\\]({_PART}[/\\])+({_PART})?")  # of two parts or more


def environment(result: BenchResult, command: str | None) -> dict[str, Any]:
    """The command, the commit, the versions and the machine."""
    facts: dict[str, Any] = {
        "command": command,
        "commit": result.commit,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "versions": {name: version for name in PACKAGES if (version := installed_version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(result.device),
        "clock": result.clock,
        "graphs": "kept" if result.keeps_graphs else "made anew",
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }
    if result.device.type == "cuda":
        properties = torch.cuda.get_device_properties(result.device)
        facts |= {
            "gpu": properties.name,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
    return facts


def package_commit() -> str | None:
    """The commit of this package, with "-dirty" if its files were changed since; None if it is in no checkout."""
    folder = str(resources.files("skipstep"))
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:  # a checkout of something else around it
        return None
    commit, changes = _git(folder, "rev-parse", "--short", "HEAD"), _git(folder, "status", "--porcelain", "--", ".")
    return commit if not commit or changes == "" else f"{commit}-dirty"


def command_line(words: Sequence[str]) -> str:
    """A command as it was typed, with the names of files where they were given with their folders from the root."""
    return shlex.join(["=".join(map(_named, word.split("=", 1))) for word in words])


def without_paths(value: Any) -> Any:
    """The same with the names of files in place of absolute paths, which tell of the machine; rows keep their names."""
    if isinstance(value, dict):
        return {name: inner if name == "name" else without_paths(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(inner) for inner in value]
    if not isinstance(value, str):
        return value
    return _PATH.sub(lambda found: _last(found[0]), _named(value))


def _named(word: str) -> str:
    is_absolute = PurePosixPath(word).is_absolute() or PureWindowsPath(word).is_absolute()
    return _last(word) if is_absolute and "\n" not in word else word


def _last(path: str) -> str:
    return PureWindowsPath(path).name or path  # which takes both slashes


def _git(folder: str, *words: str) -> str | None:
    """What git says; None where it is not installed, or fails."""
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
