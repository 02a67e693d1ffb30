"""Pickles of tensors, read by a process that can do no more than that."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from ..errors import AdapterError
from .opening import open_regular

MAX_BYTES = 8 * 2**30
_ZIP = b"PK\x03\x04"
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number before what torch 1.5 and older saved


def unpickle(source: Path, folder: Path, *, leave_out: Collection[str] = (), seconds: int | None = None) -> Path:
    """Write the tensors of a pickle that `torch.save` wrote as a safetensors file into an empty folder.

    The file is copied there first, so that it stays the same while it is read. What comes back was made by a process
    that met a stranger's bytes: read its header before anything else. Tensors and modules of the names in `leave_out`
    are left out, whatever they are. The processor may work for `seconds`, by default
    a minute and one more for every 16 MiB, and all may take twice as long.

    Raises:
        AdapterError: if it is no such file, too large, damaged, or anything but a dictionary of tensors.
        OSError: if the folder cannot be written.
    """
    from .unpickling import MADE, REFUSED, SOURCE

    size = _copy(source, folder / SOURCE)
    seconds = 60 + size // 2**24 if seconds is None else seconds
    said = folder / "said"
    with said.open("wb") as output:
        try:
            run = subprocess.run(
                [sys.executable, "-I", "-m", f"{__package__}.unpickling", str(seconds), *leave_out],
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60 + 2 * seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise AdapterError(f"{source.name}: takes too long to read, more than {error.timeout:g} s") from error
    (folder / SOURCE).unlink()
    if run.returncode == -getattr(signal, "SIGXCPU", 0):
        raise AdapterError(f"{source.name}: keeps the processor busy for more than {seconds} s; it was given up")
    if run.returncode == 0:
        return (folder / MADE).rename(folder / f"{source.stem}.safetensors")
    line = _last_line(said)
    if run.returncode == REFUSED:
        raise AdapterError(f"{source.name}: {line}")
    raise AdapterError(f"{source.name}: the process that read it ended with {run.returncode}: {line or 'no message'}")


def _copy(source: Path, target: Path) -> int:
    """A private copy of a regular file with the beginning of one that torch saved; its size."""
    with open_regular(source) as (file, size):
        if not 0 < size <= MAX_BYTES:
            raise AdapterError(f"{source.name}: has {size} bytes; 1 to {MAX_BYTES} are read")
        head = file.read(len(_OLD))
        if not head.startswith(_ZIP) and head != _OLD:
            kind = "is an old tar file" if _is_tar(file.read(512 - len(head)), head) else "is no file of torch.save"
            raise AdapterError(f"{source.name}: {kind}; save a state_dict() with torch 1.6 or later")
        file.seek(0)
        with target.open("wb") as copy:
            shutil.copyfileobj(file, copy, 2**20)
    if target.stat().st_size != size:
        raise AdapterError(f"{source.name}: changed while it was read")
    return size


def _is_tar(rest: bytes, head: bytes) -> bool:
    return (head + rest)[257:262] == b"ustar"


def _environment() -> dict[str, str]:
    """Nothing of the user's, and no more threads or devices than copying bytes needs."""
    system = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # without it Windows has none
    return {**system, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _last_line(said: Path) -> str:
    """What the process said last, as one line that cannot move a terminal's cursor."""
    with said.open("rb") as file:
        file.seek(max(said.stat().st_size - 4096, 0))
        lines = file.read().decode("utf-8", "replace").strip().splitlines() or [""]
    return "".join(letter if letter.isprintable() else "?" for letter in lines[-1])[:400]
