"""Which tests of this folder run, and which warnings fail them."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
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
