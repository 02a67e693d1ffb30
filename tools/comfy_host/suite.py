"""The tests against a real ComfyUI, once for every version, all at a time."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from .errors import HostUnavailableError
from .folder import REPOSITORY, VERSION_VARIABLE, HostFolder
from .install import install_host

TESTS = REPOSITORY / "tests" / "comfy"
EVERYTHING = (str(TESTS), "-n", "2", "--dist", "loadgroup")
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
    with contextlib.ExitStack() as files:
        # the first is seen as it runs, and the others when all are done
        outputs = {version: files.enter_context(tempfile.TemporaryFile("w+")) for version in versions[1:]}
        running = {version: _start_pytest(host, version, options, outputs.get(version)) for version in versions}
        statuses = {version: process.wait() for version, process in running.items()}
        for output in outputs.values():
            output.seek(0)
            print(output.read(), flush=True)
    for version, status in statuses.items():
        print(f"tests with ComfyUI {version}: {'passed' if status == 0 else f'FAILED, pytest ended with {status}'}")
    return max(map(abs, statuses.values()))


def _start_pytest(
    host: HostFolder, version: str, options: Sequence[str], output: IO[str] | None
) -> subprocess.Popen[str]:
    """Pytest, which writes to the file if there is one."""
    print(f"\ntests with ComfyUI {version}", file=output, flush=True)
    environment = {"OMP_NUM_THREADS": "1", **os.environ, VERSION_VARIABLE: version}
    line = [str(host.python), "-m", "pytest", "-p", "no:cacheprovider", *options]
    stderr = None if output is None else subprocess.STDOUT
    return subprocess.Popen(line, cwd=REPOSITORY, env=environment, stdout=output, stderr=stderr, text=True)


def _all_skipped(error: HostUnavailableError) -> str:
    tests = sum(len(TEST.findall(module.read_text())) for module in TESTS.rglob("test_*.py"))
    rule = "!" * 100
    reason = str(error).partition("; pip said")[0]
    summary = f"all {tests} ComfyUI tests were skipped and none was run: {reason}"
    return f"{rule}\nNO REAL COMFYUI: {error}\n{rule}\n{summary}"
