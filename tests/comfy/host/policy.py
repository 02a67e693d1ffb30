"""Which tests of this folder run, and which warnings fail them."""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

# ComfyUI and what it needs warn a lot, about themselves. The project's rule holds for the project's own modules;
# ComfyUI names the modules of a pack by their path.
OURS = r"(.*[/\\]custom_nodes[/\\])?(skipstep|comfy_nodes)(\.|$)"
FILTERS = ("default", f"error:::{OURS}")


@contextmanager
def own_warnings_only() -> Iterator[None]:
    """As `FILTERS`, outside of a test: while a test module imports ComfyUI."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module=OURS)
        yield


def mark_filters(item: pytest.Item) -> None:
    """Let the filters follow those of the project, so that they win."""
    for text in FILTERS:
        item.add_marker(pytest.mark.filterwarnings(text))


def mark_groups(items: Sequence[pytest.Item]) -> None:
    """With `--dist loadgroup`: one process has the servers and the browser, and modules stay whole."""
    serving = _serving(items)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("servers" if item.path in serving else item.path.name))


def skip_of_newest(items: Iterable[pytest.Item], *, newest: str) -> None:
    """What an older ComfyUI does not run."""
    for item in items:
        if "newest" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=f"runs with ComfyUI {newest} only"))


def make_quick(items: Sequence[pytest.Item], *, is_newest: bool) -> None:
    """Leave out long tests and most parameters of those that have some, and with an older one its server."""
    seen: Counter[tuple[Path, str]] = Counter()
    serving = _serving(items)
    for item in items:
        test = item.path, getattr(item, "originalname", item.name)
        is_left_out = "long" in item.keywords or (not is_newest and item.path in serving)
        if getattr(item, "callspec", None) is not None and not (is_newest and "whole" in item.keywords):
            is_left_out |= seen[test] % (4 if is_newest else 12) > 0
            seen[test] += 1
        if is_left_out:
            item.add_marker(pytest.mark.skip(reason="left out of a quick run; `make test-comfy` runs all"))


def _serving(items: Iterable[pytest.Item]) -> set[Path]:
    """Modules with tests of a server."""
    return {item.path for item in items if "servers" in getattr(item, "fixturenames", ())}


class NotRun(pytest.File):
    """The tests of a module, none of which can run here: found in its text, because it cannot be imported."""

    reason: str

    def collect(self) -> Iterator[pytest.Item]:
        for function in test_functions(self.path):
            test = NotRunTest.from_parent(self, name=function.name)
            test.line = function.lineno - 1
            test.add_marker(pytest.mark.skip(reason=self.reason))
            yield test


class NotRunTest(pytest.Item):
    """A test that is skipped before it would run."""

    line: int

    def runtest(self) -> None:
        raise AssertionError("this test is skipped")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.line, self.name


def test_functions(module: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions of a module; each stands for all its parameters."""
    nodes = ast.walk(ast.parse(module.read_text()))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [function for function in functions if function.name.startswith("test_")]
