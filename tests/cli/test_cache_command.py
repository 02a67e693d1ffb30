"""`skipstep cache` as a person meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skipstep.cli import main
from skipstep.compile import default_store


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(("cache", *arguments))
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the graphs are, of a user of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = default_store().folder
    if not found.is_relative_to(tmp_path):
        pytest.skip("this system's cache folder does not go by XDG_CACHE_HOME")
    return found


def fill(folder: Path) -> None:
    store = default_store()
    with store.lock("openvino-1.blob"):
        store.write("openvino-1.blob", b"a" * 2**20, title="full pass, 2 x 4 x 8 x 8")
    kernels = folder / "inductor" / "ab"
    kernels.mkdir(parents=True)
    (kernels / "kernel.so").write_bytes(b"b" * 2**19)
    (folder / "mine.txt").write_text("not ours")


@pytest.mark.parametrize("arguments", [(), ("list",), ("clear",)])
def test_a_cache_that_is_not_there_is_empty_and_is_not_made(
    capsys: pytest.CaptureFixture[str], folder: Path, arguments: tuple[str, ...]
) -> None:
    code, printed, errors = _run(capsys, *arguments)
    assert (code, errors) == (0, "")
    if arguments == ("clear",):
        assert printed == f"deleted 0.0 MiB from {folder}\n"
    else:
        assert printed == f"      0.0 MiB in {folder}, at most 20480 MiB of graphs\n"
    assert not folder.exists()


def test_it_lists_graphs_and_kernels(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    fill(folder)
    for arguments in ((), ("list",)):
        code, printed, errors = _run(capsys, *arguments)
        assert (code, errors) == (0, "")
        graph, kernels, total = printed.splitlines()
        assert graph.startswith("      1.0 MiB  used 20")
        assert graph.endswith("  openvino: full pass, 2 x 4 x 8 x 8")
        assert kernels == "      0.5 MiB  inductor's kernels"
        assert total == f"      1.5 MiB in {folder}, at most 20480 MiB of graphs"


def test_it_deletes_what_is_ours_and_nothing_else(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    fill(folder)
    code, printed, errors = _run(capsys, "clear")
    assert (code, errors) == (0, "")
    assert printed == f"deleted 1.5 MiB from {folder}\n"
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert _run(capsys, "clear")[1] == f"deleted 0.0 MiB from {folder}\n"


def test_what_another_process_is_at_is_kept_and_told_of(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    fill(folder)
    program = (
        "import sys; from skipstep.compile import default_kernels, default_store; default_kernels().use()\n"
        "with default_store().lock('openvino-1.blob'): print('at it', flush=True); sys.stdin.readline()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "at it\n"
        code, printed, errors = _run(capsys, "clear")
        assert (code, errors) == (0, "")
        assert printed == (
            f"deleted 0.0 MiB from {folder}\nkept what other processes are using: 2; clear again when they are done\n"
        )
        other.communicate("end\n", timeout=60)
    assert _run(capsys, "clear")[1] == f"deleted 1.5 MiB from {folder}\n"


def test_another_word_is_refused_with_those_that_are_known(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, _, errors = _run(capsys, "wipe")
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "'list', 'clear'" in errors
    assert not folder.exists()
