"""What is public is listed, documented, and cheap to import."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import skipstep
from skipstep import deepcache, errors

CORE = [skipstep, errors, deepcache] + [
    import_module(f"skipstep.deepcache.{module.name}") for module in pkgutil.iter_modules(deepcache.__path__)
]


@pytest.mark.parametrize("package", [skipstep, deepcache])
def test_the_listed_names_are_the_public_names(package: ModuleType) -> None:
    public = [
        name for name, value in vars(package).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) == set(public)


def public_members(owner: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The public functions, classes and their methods that are written in the module called `name`."""
    for key, value in vars(owner).items():
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            yield value.__qualname__, value
        if inspect.isclass(value):
            yield from public_members(value, name)


@pytest.mark.parametrize("module", CORE, ids=lambda module: module.__name__)
def test_everything_public_says_what_it_is(module: ModuleType) -> None:
    assert module.__doc__
    members = dict(public_members(module, module.__name__))
    assert members or module in (skipstep, deepcache)
    # a dataclass without a docstring is given its signature
    silent = [name for name, value in members.items() if not value.__doc__ or value.__doc__.startswith(f"{name}(")]
    assert silent == []


def test_the_error_tree_is_listed_and_each_is_of_a_built_in_kind() -> None:
    for name, error in public_members(errors, "skipstep.errors"):
        assert f" {name} " in str(errors.__doc__) or name == "SkipstepError"
        assert issubclass(error, (errors.SkipstepError, UserWarning))
        assert len(error.__mro__) > len(errors.SkipstepError.__mro__) or name == "SkipstepError"


def test_importing_the_core_loads_no_model_library() -> None:
    program = "import sys, skipstep.deepcache; print(*sorted(name.split('.')[0] for name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "torch" in loaded
    assert not loaded & {"diffusers", "transformers", "accelerate", "comfy", "PIL", "typer", "skimage"}


def test_the_schedules_alone_need_no_torch() -> None:
    names = set(vars(import_module("skipstep.deepcache.schedule")))
    assert "UniformSchedule" in names
    assert "torch" not in names
