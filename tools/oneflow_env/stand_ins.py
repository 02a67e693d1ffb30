"""Stand-ins for the CUDA libraries that a wheel is linked with, so that its part for the CPU loads without them.

A few KiB each, made by the C compiler. A function that gets called although there is no GPU ends the process with its
name; those that are called while loading answer that there is no device.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .python310 import NotPossibleError

_TOOLS = ("gcc", "nm", "readelf", "ldd")
# libraries by what their functions begin with, for those that carry no version; the first that fits
_PREFIXES = {
    "cudnn": "libcudnn.so",
    "cublasLt": "libcublasLt",
    "cublas": "libcublas.so",
    "cufft": "libcufft",
    "curand": "libcurand",
    "cusparse": "libcusparse",
    "cusolver": "libcusolver",
    "nccl": "libnccl",
    "cupti": "libcupti",
    "nvrtc": "libnvrtc",
    "nvtx": "libnvToolsExt",
    "cuda": "libcudart",
    "__cuda": "libcudart",
    "cu": "libcuda.so",
}
_RUNTIME = ("libcudart", "libcuda.so", "libnvToolsExt")  # asked while loading: they have to answer
_NO_DEVICE = 100  # cudaErrorNoDevice


@dataclass
class Missing:
    """A library that is not here, and the functions that are wanted of it, by the version that they carry."""

    name: str
    functions: dict[str | None, set[str]] = field(default_factory=lambda: defaultdict(set))


def missing_libraries(groups: Iterable[Iterable[Path]]) -> list[Missing]:
    """What the shared libraries of these packages are linked with and do not find, one group for each package.

    Raises:
        NotPossibleError: if there is no compiler, or no tool that reads libraries.
    """
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        raise NotPossibleError(f"stand-ins for CUDA's libraries need {', '.join(absent)}: install gcc and binutils")
    found: dict[str, Missing] = {}  # of all: two packages may want the same library, of which there can be one
    for group in groups:
        files = list(group)
        folders = ":".join(sorted({str(file.parent) for file in files}))
        names = {name for file in files for name in _not_found(file, folders)}
        own = {name: found.setdefault(name, Missing(name)) for name in sorted(names)}
        defined = {symbol for file in files for symbol in _symbols(file, "--defined-only")}
        for file in files:
            _take_wanted(file, own, defined)
    return list(found.values())


def make_stand_ins(missing: Iterable[Missing], folder: Path) -> list[Path]:
    """Compile a stand-in for each; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_compiled(one, folder) for one in missing]


def _not_found(file: Path, folders: str) -> list[str]:
    return re.findall(r"(\S+) => not found", _said(["ldd", str(file)], folders))


def _symbols(file: Path, which: str) -> list[str]:
    lines = _said(["nm", "-D", which, str(file)]).splitlines()
    return [line.split()[-1].split("@")[0] for line in lines if line.split()]


def _take_wanted(file: Path, found: dict[str, Missing], defined: set[str]) -> None:
    library_of = _libraries_of_versions(file)
    for line in _said(["nm", "-D", "--undefined-only", "--with-symbol-versions", str(file)]).splitlines():
        parts = line.split()
        if len(parts) < 2:
            continue
        kind, symbol = parts[-2:]
        name, *versions = re.split("@+", symbol)
        if versions:
            library = library_of.get(versions[0])
            if library in found:
                found[library].functions[versions[0]].add(name)
        elif kind == "U" and name not in defined:
            library = _by_prefix(name, found)
            if library is not None:
                found[library].functions[None].add(name)


def _libraries_of_versions(file: Path) -> dict[str, str]:
    """Which library each version of a symbol is of."""
    library, versions = "", {}
    for line in _said(["readelf", "-V", "-W", str(file)]).rpartition("Version needs section")[2].splitlines():
        begins, names = re.search(r"File: (\S+)", line), re.search(r"Name: (\S+)\s+Flags", line)
        library = begins[1] if begins else library
        if names:
            versions[names[1]] = library
    return versions


def _by_prefix(function: str, found: Iterable[str]) -> str | None:
    for prefix, library in _PREFIXES.items():
        if function.startswith(prefix):
            return next((name for name in sorted(found) if name.startswith(library)), None)
    return None


def _compiled(missing: Missing, folder: Path) -> Path:
    made = folder / missing.name
    source, versions = made.with_name(made.name + ".c"), made.with_name(made.name + ".map")
    names = sorted({name for group in missing.functions.values() for name in group})
    lines = [_function(name, missing.name) for name in names]
    source.write_text("\n".join(["#include <stdio.h>", "#include <stdlib.h>", "static long nothing[64];", *lines, ""]))
    line = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin", f"-Wl,-soname,{missing.name}"]
    named = {version: sorted(group) for version, group in missing.functions.items() if version is not None}
    if named:
        told = (f"{version} {{ global: {'; '.join(group)}; }};" for version, group in sorted(named.items()))
        versions.write_text("\n".join(told) + "\n")
        line.append(f"-Wl,--version-script={versions}")
    done = subprocess.run([*line, str(source), "-o", str(made)], capture_output=True, text=True, check=False)
    source.unlink()
    versions.unlink(missing_ok=True)
    if done.returncode != 0:
        raise NotPossibleError(f"gcc could not make a stand-in for {missing.name}:\n{done.stderr}")
    return made


def _function(name: str, library: str) -> str:
    if "ErrorString" in name or "ErrorName" in name or "StatusString" in name or "StatusName" in name:
        return f'const char* {name}() {{ return "no CUDA here"; }}'
    if not library.startswith(_RUNTIME):
        if "GetProperty" in name or "GetVersion" in name:
            return f"long {name}() {{ return 1; }}"
        return f'long {name}() {{ fprintf(stderr, "{library} is a stand-in: {name} was called\\n"); abort(); }}'
    if name == "cudaGetDeviceCount":
        return f"long {name}(int* count) {{ if (count) *count = 0; return {_NO_DEVICE}; }}"
    if name.startswith("__cuda"):
        return f"long {name}() {{ return (long)nothing; }}"
    if name in ("cudaGetLastError", "cudaPeekAtLastError"):
        return f"long {name}() {{ return 0; }}"
    return f"long {name}() {{ return {_NO_DEVICE}; }}"


def _said(line: list[str], library_path: str = "") -> str:
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "LD_LIBRARY_PATH": library_path}
    return subprocess.run(line, capture_output=True, text=True, env=env, check=False).stdout
