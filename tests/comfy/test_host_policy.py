"""Which tests run where, and which warnings fail them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from comfy_host.folder import FOLDER_VARIABLE, REPOSITORY, chosen_version, host_folder
from host.policy import test_functions as functions_of
from host.process import Pack

HERE = Path(__file__).parent


def test_outside_a_host_every_test_is_skipped_with_the_command_to_run(tmp_path: Path) -> None:
    # without the conftest.py above, which imports more than this folder's
    line = [sys.executable, "-m", "pytest", str(HERE), f"--confcutdir={HERE}", "-p", "no:cacheprovider"]
    outside = {**os.environ, FOLDER_VARIABLE: str(tmp_path)}
    done = subprocess.run(line, cwd=REPOSITORY, env=outside, capture_output=True, text=True, check=False)
    modules = sorted(HERE.rglob("test_*.py"))
    tests = sum(len(functions_of(module)) for module in modules)
    assert done.returncode == 0, done.stdout
    assert f"{tests} skipped in" in done.stdout.splitlines()[-1]
    for module in modules:
        listed = f"SKIPPED [{len(functions_of(module))}] {module.relative_to(REPOSITORY)}: needs a real ComfyUI"
        assert f"{listed}: run `make test-comfy`" in done.stdout


def test_this_is_the_host_of_this_repository() -> None:
    import skipstep

    assert host_folder().is_current()
    assert Path(skipstep.__file__).is_relative_to(REPOSITORY / "src"), "run `make test-comfy`: it installs this one"


def test_the_version_must_be_one_of_the_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPSTEP_COMFY_VERSION", "0.1")
    with pytest.raises(ValueError, match="must be one of 0.30.0, 0.3.75, got '0.1'"):
        chosen_version()


def test_our_warnings_are_errors_and_those_of_others_are_not(pack: Pack) -> None:
    for module in (pack.name, f"{pack.name}.comfy_nodes.nodes", "skipstep.deepcache.schedule"):
        with pytest.raises(UserWarning):
            warnings.warn_explicit("careful", UserWarning, "file.py", 1, module=module)
    with pytest.warns(UserWarning, match="careful"):
        warnings.warn_explicit("careful", UserWarning, "file.py", 1, module="comfy.samplers")
