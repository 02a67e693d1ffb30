"""The process that reads a pickle of tensors and writes them as safetensors; `pickled_file` starts it.

It knows no paths but two names in its folder. torch's unpickler for weights makes tensors and plain containers only;
since that has had holes (CVE-2025-32434, CVE-2026-24747), the process bounds its own memory, time and files first, and
ends when something wants a socket, another process or another file.
"""

from __future__ import annotations

import json
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

MIB = 2**20
SOURCE, MADE = "source", "made"
REFUSED = 3  # the exit code, after a line that says why
MAX_TENSORS = 10_000
MAX_TIMES = 16  # what may be written, in sizes of the source: layers that are shared are written once for each name
_OLDEST = (2, 10)
_TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
_FORBIDDEN = ("socket.", "subprocess.", "os.", "shutil.", "ctypes.", "pty.", "signal.", "tempfile.", "urllib.")
_HARMLESS = ("os.listdir", "os.scandir", "os.walk")


class RefusedError(Exception):
    """What is wrong with the file."""


def main() -> int:
    """Read `source` and write `made` in the current folder; the exit code is 0 or `REFUSED`.

    The arguments of the command are the number of seconds that the processor may work for it, and what to leave out.
    """
    try:
        check_torch(torch.__version__)
        size = Path(SOURCE).stat().st_size
        set_limits(size, seconds=int(sys.argv[1]))
        sys.addaudithook(watch)
        write_tensors(read_pickle(Path(SOURCE), leave_out=sys.argv[2:]), Path(MADE))
    except RefusedError as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    except MemoryError:
        sys.stdout.write("wants more memory than a file of its size needs\n")
        return REFUSED
    return 0


def read_pickle(path: Path, *, leave_out: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """The tensors of a file of `torch.save` but those to leave out; it is refused if it has anything else."""
    check_archive(path)
    found = _loaded(path)
    if leave_out and isinstance(found, Mapping):
        modules = tuple(f"{name}." for name in leave_out)
        found = {key: one for key, one in found.items() if key not in leave_out and not str(key).startswith(modules)}
    return checked(found, MAX_TIMES * path.stat().st_size)


def check_torch(version: str) -> None:
    """Refuse releases whose unpickler for weights could be made to run code (CVE-2025-32434, CVE-2026-24747)."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST:
        raise RefusedError(f"is not read with torch {version}, which has CVE-2026-24747; install torch 2.10 or later")


def set_limits(size: int, *, seconds: int) -> None:
    """Bound memory, files and the processor's time for a file of `size` bytes, where the operating system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {
        resource.RLIMIT_CPU: seconds + 1,
        resource.RLIMIT_FSIZE: MAX_TIMES * size + 16 * MIB,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    pages = Path("/proc/self/statm")
    if pages.exists():  # what the libraries take by themselves, the file, and a tensor in another order
        limits[resource.RLIMIT_AS] = int(pages.read_text().split()[0]) * resource.getpagesize() + 2 * size + 512 * MIB
    for limit, most in limits.items():
        found = resource.getrlimit(limit)[1]
        hard = most if found == resource.RLIM_INFINITY else min(most, found)
        soft = hard - 1 if limit == resource.RLIMIT_CPU else hard  # a signal that tells why, a second before the kill
        resource.setrlimit(limit, (soft, hard))


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: nothing but reading files, and writing one."""
    if event.startswith(_FORBIDDEN) and event not in _HARMLESS:
        raise RefusedError(f"wanted {event} while it was read, which no tensor needs")
    if event == "open":
        path, mode, flags = arguments
        writes = any(letter in str(mode or "") for letter in "wax+") or bool(int(flags or 0) & 3)
        if writes and str(path) != MADE:
            raise RefusedError(f"wanted to write {path} while it was read, which no tensor needs")


def check_archive(path: Path) -> None:
    """See that a zip file is one that `torch.save` writes: members that are stored and not compressed, and no code."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise RefusedError(f"is a damaged zip file or was cut off ({error}); get it again") from error
    names = [member.filename.partition("/")[2] for member in members]
    if any(name.startswith("code/") or name == "constants.pkl" for name in names):
        raise RefusedError("is a TorchScript program, which is not run; ask for the weights alone")
    if "data.pkl" not in names or len({member.filename.partition("/")[0] for member in members}) != 1:
        raise RefusedError("is a zip file that torch.save did not write")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise RefusedError("is a zip file with compressed members, which torch.save does not write")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise RefusedError("is a zip file whose members overlap")


def _loaded(path: Path) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except RefusedError:
        raise
    except pickle.UnpicklingError as error:
        raise RefusedError(_reason(str(error))) from error
    except Exception as error:  # a file can provoke any, and all mean the same
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "alloc" in text or "memory" in text.lower():
            raise RefusedError("wants more memory than a file of its size needs") from error
        raise RefusedError(f"is damaged or was cut off ({text[:160]}); get it again") from error


def _reason(message: str) -> str:
    """What torch's unpickler refused, without its advice to load the file all the same."""
    found = re.search(r"GLOBAL (\S+) was not an allowed|whose module (\S+) is blocked", message)
    if found is not None:
        return f"wants to run {found[1] or found[2]}, so it is a program; it was not run"
    detail = re.search(r"WeightsUnpickler error:\s*(.+)", message)
    return f"is more than tensors ({(detail[1] if detail else message)[:160].strip()}); it was not run"


def checked(found: Any, most: int) -> dict[str, torch.Tensor]:
    """The tensors of a state dictionary: dense, of floating point numbers, none larger than what is stored of it."""
    if not isinstance(found, Mapping) or not found:
        kind = "an empty dictionary" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise RefusedError(f"holds {kind} and no dictionary of tensors; save a state_dict()")
    if len(found) > MAX_TENSORS:
        raise RefusedError(f"has {len(found)} tensors; at most {MAX_TENSORS} are read")
    tensors = {}
    for name, tensor in found.items():
        if not isinstance(name, str) or not 0 < len(name) <= 256:
            raise RefusedError(f"has a tensor called {str(name)[:80]!r}; names are of 1 to 256 characters")
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            raise RefusedError(f"has a {type(tensor).__name__} called {name[:80]!r}, and only tensors are read")
        tensors[name] = tensor.detach()
        _check_tensor(name[:120], tensors[name])
    total = sum(tensor.nbytes for tensor in tensors.values())
    if total > most:
        raise RefusedError(f"names the same values again and again: {total} bytes, and at most {most} are written")
    return tensors


def _check_tensor(name: str, tensor: torch.Tensor) -> None:
    if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.dtype not in _TYPES:
        kind = f"{tensor.dtype}, {tensor.layout} on {tensor.device.type}".replace("torch.", "")
        raise RefusedError(f"tensor {name}: is {kind}; only dense floating point numbers are read")
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise RefusedError(f"tensor {name}: {list(tensor.shape)} is larger than what is stored of it")


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """The tensors as a safetensors file, one after the other, so that no more than one is in memory."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        offsets = [end, end := end + tensor.nbytes]
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)


if __name__ == "__main__":
    raise SystemExit(main())
