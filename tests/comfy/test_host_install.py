"""Installing a host: done once, continued when killed, and honest about what could not be had."""

from __future__ import annotations

from pathlib import Path

import comfy_host.suite
import pytest
from comfy_host import packages
from comfy_host.base import make_base
from comfy_host.errors import HostUnavailableError, InstallError
from comfy_host.folder import HostFolder
from comfy_host.stamps import digest, once


def test_a_step_is_done_again_when_it_changes_or_was_killed(tmp_path: Path) -> None:
    stamp, done = tmp_path / "stamps" / "step", []

    def work() -> None:
        done.append(len(done))

    def killed() -> None:
        raise KeyboardInterrupt

    assert once(stamp, digest("torch", 1), work, say="step")
    assert not once(stamp, digest("torch", 1), work, say="step")
    assert once(stamp, digest("torch", 2), work, say="step")
    with pytest.raises(KeyboardInterrupt):
        once(stamp, digest("torch", 3), killed, say="step")
    assert once(stamp, digest("torch", 2), work, say="step")  # the killed one may have left anything
    assert done == [0, 1, 2]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("ERROR: No matching distribution found for torch==2.13.0", HostUnavailableError),
        ("WARNING: Retrying after connection broken by NewConnectionError", HostUnavailableError),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", InstallError),
        ("OSError: [Errno 28] No space left on device", InstallError),
    ],
)
def test_what_pip_says_tells_a_missing_network_from_a_failure(tmp_path: Path, said: str, error: type) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(error, match="torch==2.13.0") as raised:
        packages.install(python, "torch==2.13.0", what="torch==2.13.0")
    assert said in str(raised.value)


def test_a_half_installed_package_is_installed_again(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole-1.0.dist-info", tmp_path / "half-1.0.dist-info"
    for metadata in (whole, half):
        metadata.mkdir()
        (metadata / "METADATA").touch()
    (whole / "RECORD").touch()
    packages.forget_half_installed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole-1.0.dist-info"]


def test_without_a_network_the_tests_are_skipped_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unavailable(_: HostFolder) -> None:
        raise HostUnavailableError("could not fetch torch==2.13.0; pip said:\n    no network")

    monkeypatch.setattr(comfy_host.suite, "install_host", unavailable)
    assert comfy_host.suite.run_tests(HostFolder(tmp_path), versions=["0.30.0"], options=[]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "NO REAL COMFYUI: could not fetch torch==2.13.0; pip said:" in lines
    assert lines[-1].endswith("ComfyUI tests were skipped and none was run: could not fetch torch==2.13.0")
    assert int(lines[-1].split()[1]) > 10


def test_a_base_directory_keeps_what_a_person_made(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    base = make_base(tmp_path / "base", packs={"pack": one})
    (base / "output" / "picture.png").touch()
    make_base(base, packs={"pack": other})
    assert (base / "custom_nodes" / "pack").resolve() == other
    assert (base / "output" / "picture.png").exists()
