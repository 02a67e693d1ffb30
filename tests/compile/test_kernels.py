"""The folder of torch's kernels: who uses it, and that it is not cleared meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skipstep.compile import Cleared, KernelFolder, default_kernels, default_store
from skipstep.compile.kernels import VARIABLE

USER = """
import sys
from pathlib import Path
from skipstep.compile import KernelFolder
KernelFolder(Path(sys.argv[1])).use()
print("using", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def kernels(tmp_path: Path) -> KernelFolder:
    """One with a kernel of 5 bytes."""
    made = KernelFolder(tmp_path / "inductor")
    (made.folder / "ab").mkdir(parents=True)
    (made.folder / "ab" / "kernel.so").write_bytes(b"12345")
    return made


def test_kernels_are_cleared_when_nobody_uses_them(kernels: KernelFolder, tmp_path: Path) -> None:
    assert kernels.size() == 5
    assert kernels.clear() == Cleared(freed=5, in_use=0)
    assert not kernels.folder.exists()
    assert kernels.clear() == Cleared(0, 0)
    assert KernelFolder(tmp_path / "nowhere").size() == 0


def test_kernels_that_other_processes_use_are_kept_until_they_end(kernels: KernelFolder) -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(kernels.folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for user in users:
        assert user.stdout is not None
        assert user.stdout.readline() == "using\n"
    assert kernels.clear() == Cleared(freed=0, in_use=2)
    users[0].communicate("end\n", timeout=60)
    assert kernels.clear() == Cleared(freed=0, in_use=1)
    assert kernels.size() == 5
    users[1].kill()  # its lock is the operating system's
    users[1].communicate(timeout=60)
    assert kernels.clear() == Cleared(freed=5, in_use=0)


def test_torch_is_told_the_place_and_another_that_it_was_told_is_left(
    kernels: KernelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "elsewhere")
    kernels.use()
    assert os.environ[VARIABLE] == "elsewhere"
    assert kernels.clear().in_use == 0
    monkeypatch.delenv(VARIABLE)
    for _ in range(2):  # a second time is as good as the first
        kernels.use()
        assert os.environ[VARIABLE] == str(kernels.folder)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.delenv(VARIABLE)
    KernelFolder(tmp_path / "file" / "inductor").use()  # torch will say that it cannot write there


def test_the_default_is_beside_the_graphs() -> None:
    assert default_kernels().folder == default_store().folder / "inductor"
