"""Where caches are kept, on machines with and without a home."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from skipstep.compile import available_backends
from skipstep.errors import MissingExtraError, OutputError
from skipstep.folders import cache_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems' folders go by other variables")


def test_it_is_where_the_user_wants_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder("graphs") == tmp_path / "caches" / "skipstep" / "graphs"
    assert not (tmp_path / "caches").exists()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("plans") == tmp_path / ".cache" / "skipstep" / "plans"


@pytest.fixture
def _homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose user has neither a name nor a home."""

    def unknown(_: int) -> Any:
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("_homeless")
def test_without_a_home_nothing_is_kept_in_the_working_folder() -> None:
    with pytest.raises(OutputError, match="there is no folder for graphs: set HOME or XDG_CACHE_HOME"):
        cache_folder("graphs")


def test_without_platformdirs_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(
        MissingExtraError, match=r"a folder for plans needs platformdirs: pip install 'skipstep\[cli\]'"
    ):
        cache_folder("plans")


@pytest.mark.usefixtures("_homeless")
def test_without_a_home_the_backends_that_keep_graphs_say_so() -> None:
    found = available_backends()
    assert found["eager"].ok
    for name in ("aot", "openvino"):
        assert str(found[name]).startswith("not available: there is no folder for graphs")
