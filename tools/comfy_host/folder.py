"""Where a host lies, and where its parts are in it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .pins import NEWEST, VERSIONS

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER_VARIABLE = "SKIPSTEP_COMFY_HOST"
VERSION_VARIABLE = "SKIPSTEP_COMFY_VERSION"


@dataclass(frozen=True)
class HostFolder:
    """One virtual environment, and a ComfyUI tree for each version."""

    root: Path

    @property
    def venv(self) -> Path:
        return self.root / "venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def packages(self) -> Path:
        """The environment's `site-packages`; there is none before the environment."""
        return next(self.venv.glob("lib/python3.*/site-packages"), self.venv / "lib")

    def tree(self, version: str) -> Path:
        """ComfyUI's own files, which nothing writes to."""
        return self.root / f"ComfyUI-{version}"

    def cache(self, name: str) -> Path:
        """A folder for what takes long to make again."""
        return self.root / "cache" / name

    def is_current(self) -> bool:
        """Whether this process runs in the host's environment."""
        return Path(sys.prefix).resolve() == self.venv.resolve()


def host_folder() -> HostFolder:
    """The host of this repository, or the one that `SKIPSTEP_COMFY_HOST` names."""
    named = os.environ.get(FOLDER_VARIABLE)
    return HostFolder(Path(named).expanduser().resolve() if named else REPOSITORY / ".comfy")


def chosen_version() -> str:
    """The ComfyUI that `SKIPSTEP_COMFY_VERSION` names, or the newest.

    Raises:
        ValueError: if there is no such version.
    """
    version = os.environ.get(VERSION_VARIABLE, NEWEST)
    if version not in VERSIONS:
        raise ValueError(f"{VERSION_VARIABLE} must be one of {', '.join(VERSIONS)}, got {version!r}")
    return version
