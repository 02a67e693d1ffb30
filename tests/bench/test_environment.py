"""What a result says of how it was measured: the commit, the command, and nothing of where on the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from skipstep.bench import command_line, environment
from skipstep.bench.environment import package_commit, without_paths


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package in a checkout of one commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    package = tmp_path / "src" / "skipstep"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text("*.pyc\n/site/\n")
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(environment.resources, "files", lambda _: package)
    return package


def head(folder: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_dirty_if_the_package_was_changed(checkout: Path) -> None:
    commit = package_commit()
    assert commit is not None
    assert len(commit) >= 7
    assert head(checkout).startswith(commit)
    (checkout.parents[1] / "notes.md").write_text("of no effect on what is measured")
    (checkout / "module.pyc").write_text("made by Python")
    assert package_commit() == commit
    (checkout / "new.py").write_text("")
    assert package_commit() == f"{commit}-dirty"
    (checkout / "new.py").unlink()
    (checkout / "__init__.py").write_text("changed = True")
    assert package_commit() == f"{commit}-dirty"


def test_a_package_that_lies_in_a_checkout_of_something_else_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment in a project's folder, which git was told to ignore."""
    installed = checkout.parents[1] / "site" / "skipstep"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(environment.resources, "files", lambda _: installed)
    assert package_commit() is None


@pytest.mark.usefixtures("checkout")
def test_outside_of_a_checkout_and_without_git_there_is_none(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert package_commit() is not None
    monkeypatch.setenv("PATH", "")
    assert package_commit() is None
    monkeypatch.undo()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(environment.resources, "files", lambda _: elsewhere)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(elsewhere.parent))
    assert package_commit() is None


def test_a_command_is_what_was_typed_without_folders_of_the_machine() -> None:
    words = ["skipstep", "bench", "/home/ann/my cases/x.toml", "--out=/tmp/a", "--graphs", "kept/here", "--steps", "4"]
    assert command_line(words) == "skipstep bench x.toml --out=a --graphs kept/here --steps 4"
    assert command_line(["skipstep", "bench", "my case.toml"]) == "skipstep bench 'my case.toml'"
    assert command_line(["bench", r"C:\Users\ann\x.toml"]) == "bench x.toml"


@pytest.mark.parametrize(
    "text",
    ["2 / 3", "and/or", "steps/s", "https://pytorch.org/docs/main", "a relative/path/x.py", "../x/y", "~/x/y", "", "/"],
)
def test_what_is_no_absolute_path_stays(text: str) -> None:
    assert without_paths(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"cannot write {os.sep}home{os.sep}ann{os.sep}x.json: full", "cannot write x.json: full"),
        ("File '/a/b.c/d-e_f.py', line 3", "File 'd-e_f.py', line 3"),
        ("/tmp", "tmp"),
        (r"in C:\Users\ann\x.pt2 or D:/data/y", "in x.pt2 or y"),
        ({"a": ("/x/y/z", 1, None)}, {"a": ["z", 1, None]}),
        ({"name": "/x/y/z"}, {"name": "/x/y/z"}),
    ],
)
def test_of_a_path_its_last_part_stays(text: object, expected: object) -> None:
    assert without_paths(text) == expected
