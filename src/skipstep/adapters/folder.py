"""Which files an adapter folder may have, before any is opened."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ..errors import AdapterError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
SIDECAR = "skipstep.json"
ALLOWED = (CONFIG, WEIGHTS, SIDECAR, "README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE")
MAX_ENTRIES = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"}
_PROGRAMS = {".py", ".pyc", ".so", ".sh", ".exe", ".dll", ".jinja", ".jinja2"}


def contained(path: Path, root: Path | None) -> Path:
    """The path without links and `..`, which must lie in `root`.

    Raises:
        AdapterError: if it does not exist, is a link, or lies elsewhere.
    """
    if "\0" in str(path):
        raise AdapterError("path: has a null character")
    if path.is_symlink():
        raise AdapterError(f"{path.name}: is a link; put a copy of the adapter itself there")
    real = Path(os.path.realpath(path))
    if root is not None and not real.is_relative_to(os.path.realpath(root)):
        raise AdapterError(f"path: {path} is outside {root}, where adapters are; copy it there")
    if not real.exists():
        raise AdapterError(f"path: there is no adapter at {path}; names on a hub are not downloaded")
    return real


def check_folder(folder: Path) -> None:
    """See that a folder has a config, weights, and nothing that could be run or lead elsewhere.

    Raises:
        AdapterError: names the first file that must not be there, or the one that is missing.
    """
    if not NAME.fullmatch(folder.name):
        raise AdapterError(
            f"name: {folder.name[:80]!r} has other characters than letters, digits, '.', '_' and '-', or is longer "
            "than 64; rename the folder"
        )
    with os.scandir(folder) as entries:
        found: list[os.DirEntry[str]] = []
        for entry in entries:
            if len(found) == MAX_ENTRIES:
                raise AdapterError(f"folder: has more than {MAX_ENTRIES} files; an adapter has {CONFIG} and {WEIGHTS}")
            found.append(entry)
    for entry in sorted(found, key=lambda entry: entry.name):
        _check_entry(entry)
    for needed in (CONFIG, WEIGHTS):
        if all(entry.name != needed for entry in found):
            raise AdapterError(f"{needed}: is missing; an adapter folder is what PEFT's save_pretrained writes")


def _check_entry(entry: os.DirEntry[str]) -> None:
    name, suffix = entry.name[:80], Path(entry.name).suffix.lower()
    if entry.is_symlink():
        raise AdapterError(f"{name}: is a link; put a copy of the file itself there")
    if suffix in PICKLES:
        raise AdapterError(f"{name}: is a pickle, which can run any program when it is loaded; convert it first")
    if suffix in _PROGRAMS:
        raise AdapterError(f"{name}: is a program or a template; an adapter needs none: remove it")
    if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
        raise AdapterError(f"{name}: is no regular file; only plain files may be there")
    if entry.name not in ALLOWED:
        raise AdapterError(f"{name}: does not belong to an adapter; only {', '.join(ALLOWED)} may be there")
