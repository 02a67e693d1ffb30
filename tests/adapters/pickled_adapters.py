"""Files as `torch.save` writes them, and as somebody who means harm does."""

from __future__ import annotations

import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SOUND = {
    f"lora_unet_mid_{at}.lora_{half}.weight": torch.full((4, 4), at + 0.5) for at in range(2) for half in ("up", "down")
}
MARK = "marker"  # what the evil ones would make beside themselves


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def saved(value: Any, **options: Any) -> Callable[[Path], None]:
    """What writes a file of this value."""
    return lambda path: torch.save(value, path, **options)


def evil(**options: Any) -> Callable[[Path], None]:
    """What writes a file that runs a function when a careless program loads it."""
    return lambda path: torch.save({"a": Evil(path.with_name(MARK))}, path, **options)


def with_pickle(program: bytes) -> Callable[[Path], None]:
    """What writes a file of `torch.save` that has another `data.pkl`."""

    def write(path: Path) -> None:
        torch.save(SOUND, path)
        members = _members(path)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, program if name.endswith("/data.pkl") else data)

    return write


def compressed(path: Path) -> None:
    """A file whose members are deflated, one of them 50 MB of zeros."""
    torch.save(SOUND, path)
    members = _members(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, f"{path.stem}/data/9": b"\0" * 50_000_000}.items():
            archive.writestr(name, data)


def overlapping(path: Path) -> None:
    """A file whose directory names the same bytes a thousand times."""
    big = {"a": torch.zeros(10_000)}
    torch.save(big, path)
    with zipfile.ZipFile(path, "a") as archive:
        member = next(one for one in archive.infolist() if one.filename.endswith("/data/0"))
        for at in range(1000):
            twin = zipfile.ZipInfo(member.filename[:-1] + str(at + 1))
            for field in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(twin, field, getattr(member, field))
            archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]


def cut(write: Callable[[Path], None], by: int) -> Callable[[Path], None]:
    """What writes a file and takes its last bytes away."""

    def shorten(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:-by])

    return shorten


def script(path: Path) -> None:
    """A TorchScript program; torch warns of it as of the past."""
    module = torch.nn.Linear(2, 2)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py"):
            archive.writestr(f"m/{name}", pickle.dumps(module.in_features))


def old_tar(path: Path) -> None:
    """As torch saved in its first year."""
    torch.save(SOUND, path)
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        archive.add(path, "storages")
    path.with_suffix(".tar").replace(path)


def hash_bomb() -> bytes:
    """Tuples of pairs of tuples, 60 deep, as a key: its hash takes 2 ** 60 steps."""
    program = b"\x80\x02K\x01K\x02\x86q\x00"
    for depth in range(60):
        program += b"h" + bytes([depth]) + b"h" + bytes([depth]) + b"\x86q" + bytes([depth + 1])
    return program + b"}h\x3cK\x01s."


def memory_bomb() -> bytes:
    """An array of a tebibyte; torch's unpickler for weights allows its type."""
    return b"\x80\x02cbuiltins\nbytearray\n\x8a\x08" + struct.pack("<q", 2**40) + b"\x85R."


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {member.filename: archive.read(member) for member in archive.infolist()}
