"""Folders that appear whole or not at all."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from skipstep.errors import OutputError
from skipstep.whole import umask, whole_folder


def fill(path: Path, then: Callable[[], object] = bool) -> None:
    """Two files, and what happens before the folder is through."""
    with whole_folder(path) as unfinished:
        assert not path.exists() or not any(path.iterdir())
        (unfinished / "a").write_text("one")
        (unfinished / "b").write_text("two")
        then()


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
def test_it_is_there_when_the_block_is_through(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "deep" / "folder"
    if there:
        path.mkdir(parents=True)
    fill(path)
    assert {file.name: file.read_text() for file in path.iterdir()} == {"a": "one", "b": "two"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~umask()
    assert stat.S_IMODE((path / "a").stat().st_mode) == 0o666 & ~umask()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_a_block_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(OutputError if error is OSError else error):
        fill(tmp_path / "folder", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    full, file, link = tmp_path / "full", tmp_path / "file", tmp_path / "link"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for path, message in (
        (full, "is not empty; name a new folder"),
        (file, "is there and no folder"),
        (link, "no folder"),
    ):
        with pytest.raises(OutputError, match=message):
            fill(path)
    assert (full / "mine").read_text() == file.read_text() == "mine"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "full", "link"]


def test_something_that_appears_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder"

    def meanwhile() -> None:
        path.mkdir()
        (path / "theirs").write_text("theirs")

    with pytest.raises(OutputError, match="cannot write"):
        fill(path, meanwhile)
    assert [file.name for file in path.iterdir()] == ["theirs"]
    assert list(tmp_path.iterdir()) == [path]
