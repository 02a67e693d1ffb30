"""Installs the packages and makes what of CUDA is missing; each step does nothing where it was done."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from .python310 import NotPossibleError
from .stand_ins import make_stand_ins, missing_libraries

# later numpy has no `np.bool`, which OneFlow 0.9.0 uses
ONEFLOW = ("oneflow==0.9.0", "numpy<1.24")
# their own requirements are CUDA's libraries, and packages for pipelines
ONEDIFF = ("torch==2.0.1", "onediff==1.2.0", "onefx==0.0.3")
ONEDIFF_NEEDS = ("filelock", "jinja2", "networkx", "sympy", "typing-extensions")
_STAND_INS = "cuda-stand-ins"  # where the worker looks for them
_START = Path(__file__).resolve().parents[2] / "src" / "skipstep" / "compile" / "flow_worker" / "start.py"


def install(folder: Path, *, python: str, onediff: bool) -> None:
    """Make the environment, or what of it is missing.

    Raises:
        NotPossibleError: if a step fails, with what it said.
    """
    inside = folder / "bin" / "python"
    if folder.exists() and not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()):
        raise NotPossibleError(f"{folder} is not empty and no environment; name another folder")
    if not inside.exists():
        _run([python, "-m", "venv", str(folder)], "a virtual environment could not be made")
    pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    print(f"installing {', '.join(ONEFLOW)} (965 MB) ...")
    _run([*pip, *ONEFLOW], "OneFlow could not be installed")
    if onediff:
        print(f"installing {', '.join(ONEDIFF)} (620 MB) ...")
        _run([*pip, "--no-deps", *ONEDIFF], "OneDiff could not be installed")
        _run([*pip, *ONEDIFF_NEEDS, ONEFLOW[1]], "what OneDiff needs could not be installed")
    packages = next(folder.glob("lib/python3.10/site-packages"))
    _make_stand_ins(packages, folder / _STAND_INS)


def probe(folder: Path) -> dict[str, str]:
    """The versions of what is there, after a graph was built and run.

    Raises:
        NotPossibleError: if none can be, with what was said.
    """
    line = [str(folder / "bin" / "python"), "-I", str(_START), "probe"]
    lines = _run(line, "OneFlow is installed and does not work").strip().splitlines()
    found: dict[str, str] = json.loads(lines[-1])
    return found


def _make_stand_ins(packages: Path, folder: Path) -> None:
    of_oneflow = [*packages.glob("oneflow/*.so"), *packages.glob("oneflow.libs/*.so*")]
    of_torch = [*packages.glob("torch/lib/*.so*"), *packages.glob("torch/*.so")]
    for made in make_stand_ins(missing_libraries((of_oneflow, of_torch)), folder):
        print(f"made a stand-in for {made.name}: {made.stat().st_size} bytes")


def _run(line: list[str], failed: str) -> str:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise NotPossibleError(f"{failed}:\n{said}")
    return done.stdout
