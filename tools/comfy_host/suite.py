"""The tests against a real ComfyUI, once for every version."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from .errors import HostUnavailableError
from .folder import REPOSITORY, VERSION_VARIABLE, HostFolder
from .install import install_host

TESTS = REPOSITORY / "tests" / "comfy"
TEST = re.compile(r"^\s*(async )?def test_", re.MULTILINE)


def run_tests(host: HostFolder, *, versions: Sequence[str], options: Sequence[str]) -> int:
    """Install the host and run pytest in it; the worst exit status.

    Where something cannot be fetched, nothing of this repository has failed: that says so loudly, and returns 0.
    """
    try:
        install_host(host)
    except HostUnavailableError as error:
        print(_all_skipped(error))
        return 0
    statuses = {version: _run_pytest(host, version, options) for version in versions}
    for version, status in statuses.items():
        print(f"tests with ComfyUI {version}: {'passed' if status == 0 else f'FAILED, pytest ended with {status}'}")
    return max(statuses.values())


def _run_pytest(host: HostFolder, version: str, options: Sequence[str]) -> int:
    print(f"\ntests with ComfyUI {version}", flush=True)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, VERSION_VARIABLE: version}
    line = [str(host.python), "-m", "pytest", *(options or [str(TESTS)])]
    return subprocess.run(line, cwd=REPOSITORY, env=environment, check=False).returncode


def _all_skipped(error: HostUnavailableError) -> str:
    tests = sum(len(TEST.findall(module.read_text())) for module in TESTS.rglob("test_*.py"))
    rule = "!" * 100
    reason = str(error).partition("; pip said")[0]
    summary = f"all {tests} ComfyUI tests were skipped and none was run: {reason}"
    return f"{rule}\nNO REAL COMFYUI: {error}\n{rule}\n{summary}"
