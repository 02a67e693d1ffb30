"""A ComfyUI base directory: what a person or a test has of their own beside the tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .folder import REPOSITORY

# the whole repository, as `git clone` puts it there, or its folder `comfy_nodes` alone, beside an installed skipstep
PackLink = Literal["repository", "folder"]
FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")


def pack_folder(link: PackLink) -> Path:
    """The folder that becomes `custom_nodes/skipstep`."""
    return REPOSITORY if link == "repository" else REPOSITORY / "comfy_nodes"


def make_base(base: Path, *, packs: Mapping[str, Path], models: Path | None = None) -> Path:
    """A base directory with links to packs, by their names, and to a folder of models; what is there stays.

    A link of one of the names that leads elsewhere is replaced.
    """
    if models is not None:
        base.mkdir(parents=True, exist_ok=True)
        _link(base / "models", models)
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    for name, folder in packs.items():
        _link(base / "custom_nodes" / name, folder)
    return base


def hide_installed_skipstep(folder: Path) -> Path:
    """A folder for `PYTHONPATH` with which a Python does not find the skipstep of this host's environment.

    For a cloned repository, whose user has installed nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = str(REPOSITORY / "src")
    text = f"import sys\n\nsys.path[:] = [entry for entry in sys.path if entry != {source!r}]\n"
    (folder / "sitecustomize.py").write_text(text)
    return folder


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target, target_is_directory=True)
