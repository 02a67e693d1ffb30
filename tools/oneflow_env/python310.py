"""Finds a Python 3.10, the newest that OneFlow has wheels for."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

WANTED = (3, 10)


class NotPossibleError(RuntimeError):
    """An environment cannot be made here; says why, and what to do."""


def find_python(asked: str | None) -> str:
    """The interpreter that was asked for, or the first 3.10 that starts.

    Raises:
        NotPossibleError: if there is none, or this is no machine that OneFlow has wheels for.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NotPossibleError(
            f"OneFlow 0.9.0 is for Linux on x86_64, this is {platform.system()} {platform.machine()}"
        )
    if asked is not None:
        found = _version(asked)
        if found != WANTED:
            said = "does not start" if found is None else f"is Python {found[0]}.{found[1]}"
            raise NotPossibleError(f"--python {asked} {said}; OneFlow 0.9.0 has its last wheels for Python 3.10")
        return asked
    for candidate in _candidates():
        if _version(candidate) == WANTED:
            return candidate
    raise NotPossibleError(
        "there is no Python 3.10 here, the newest that OneFlow 0.9.0 has wheels for: install one "
        "(`pyenv install 3.10`, or your system's python3.10 with venv), or name it with --python"
    )


def _candidates() -> Iterator[str]:
    on_path = shutil.which("python3.10")
    if on_path is not None:
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(map(str, root.glob("versions/3.10*/bin/python")), reverse=True)


def _version(python: str) -> tuple[int, int] | None:
    """Asked of the interpreter: pyenv's `python3.10` is there, and does not start, where no 3.10 is chosen."""
    line = [python, "-I", "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2])"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    major, minor = map(int, done.stdout.split())
    return major, minor
