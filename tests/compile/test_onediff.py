"""OneDiff both ways: our compilers under its `compile_pipe`, and its backends as one of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from compile_toys import errors_of, toy_call, toy_unet
from models import sd15_pipeline
from runs import sample

from skipstep import DeepCache, speed_up
from skipstep.compile import Compiler, register_with_onediff
from skipstep.compile.onediff import OneDiffBackend
from skipstep.errors import BackendError, MissingExtraError

WHY = "OneDiff is not installed: pip install onediff onediffx"
registry = pytest.importorskip("onediff.infer_compiler.backends.registry", reason=WHY)
onediffx = pytest.importorskip("onediffx", reason=WHY)
EAGER = {"backend": "eager"}

# compile_pipe scripts the pipeline's image processor
pytestmark = pytest.mark.filterwarnings(r"ignore:`torch\.jit\.script` is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what other tests registered."""
    monkeypatch.setattr(registry, "_BACKENDS", {})


@pytest.fixture
def compiled() -> Any:
    """A pipeline that OneDiff compiled with the reference backend."""
    register_with_onediff()
    return onediffx.compile_pipe(sd15_pipeline(unet=toy_unet()), backend="skipstep", options=EAGER)


def test_onediff_compiles_the_unet_of_a_pipeline(compiled: Any) -> None:
    plain = sd15_pipeline(unet=toy_unet())
    picture = sample(compiled, steps=3)
    assert torch.equal(picture, sample(plain, steps=3))
    assert not torch.equal(picture, sample(compiled, steps=3, seed=1))
    counters = compiled.unet.split_maker.counters
    assert (counters.hits, counters.eager) == (0, 6)


def test_a_pipeline_of_onediff_is_sped_up_with_its_compiler(compiled: Any) -> None:
    plain, unet = sd15_pipeline(unet=toy_unet()), compiled.unet
    with speed_up(plain, DeepCache(interval=2)):
        expected = sample(plain, steps=10)
    with speed_up(compiled, DeepCache(interval=2)) as run:
        picture = sample(compiled, steps=10)
    assert torch.equal(picture, expected)
    assert not torch.equal(picture, sample(compiled, steps=10))  # every step in full
    assert compiled.unet is unet
    assert (run.report.full_passes, run.report.reuse_passes) == (5, 5)
    assert unet.split_maker.counters.eager == 20


def test_modules_that_are_no_unet_are_left_alone() -> None:
    register_with_onediff()
    pipe = sd15_pipeline("controlnet", unet=toy_unet())
    parts = pipe.controlnet, pipe.vae.decoder, pipe.vae.encoder
    onediffx.compile_pipe(pipe, backend="skipstep", options=EAGER)
    assert (pipe.controlnet, pipe.vae.decoder, pipe.vae.encoder) == parts


def test_inductor_is_what_onediff_gets_if_not_told() -> None:
    register_with_onediff()
    pipe = onediffx.compile_pipe(sd15_pipeline(unet=toy_unet()), backend="skipstep")
    assert pipe.unet.split_maker.backend.name == "inductor"


def test_registering_twice_is_harmless() -> None:
    register_with_onediff()
    before = dict(registry._BACKENDS)
    register_with_onediff()
    assert before == registry._BACKENDS
    register_with_onediff("another name")
    assert {**before, "another name": before["skipstep"]} == registry._BACKENDS


def test_asking_whether_it_can_be_used_registers_nothing() -> None:
    OneDiffBackend().available()
    assert registry._BACKENDS == {}


@pytest.fixture
def engine() -> Iterator[list[Any]]:
    """The modules that a backend of OneDiff called "traced" was given; it traces them and computes as torch does."""
    given = []

    def compile_fn(module: Any, *, options: Any = None) -> Any:
        given.append((module, options))
        return torch.compile(module, backend="eager", fullgraph=True)

    registry.register_backend("traced")(compile_fn)
    yield given
    torch.compiler.reset()


def test_both_passes_go_through_a_backend_of_onediff(engine: list[Any]) -> None:
    compiler = Compiler(OneDiffBackend(engine="traced"))
    split = compiler(toy_unet(), (0,))
    assert errors_of(split, toy_call()) == [0.0, 0.0]
    assert errors_of(split, toy_call(1)) == [0.0, 0.0]
    assert [type(module).__name__ for module, _ in engine] == ["FullPass", "ReusePass"]
    assert (compiler.counters.compiles, compiler.counters.hits, compiler.counters.eager) == (2, 4, 0)


@pytest.mark.usefixtures("engine")
def test_a_registered_engine_is_available() -> None:
    available = OneDiffBackend(engine="traced").available()
    assert available.ok
    assert available.detail.endswith(", traced")
    unknown = OneDiffBackend(engine="tracer").available()
    assert not unknown.ok
    assert "no backend 'tracer'" in unknown.detail


Package = Callable[[str, str], None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Puts a package of this name and code before all others, for processes that are started."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name, code: (tmp_path / f"{name}.py").write_text(code) and None


def test_without_an_engine_it_says_why_not(package: Package) -> None:
    package("oneflow", "raise RuntimeError('This package is a placeholder')")
    package("nexfort", "import os; os.abort()")
    available = OneDiffBackend().available()
    assert not available.ok
    assert available.detail.startswith("onediff 1.")
    assert "oneflow: RuntimeError: This package is a placeholder" in available.detail
    assert "nexfort: python ended with -6" in available.detail
    with pytest.raises(BackendError, match="placeholder"):
        Compiler("onediff")


def test_the_first_engine_that_imports_is_used(package: Package) -> None:
    package("oneflow", "raise ImportError('libcudnn')")
    package("nexfort", "print('welcome'); __version__ = '0.1'")
    available = OneDiffBackend().available()
    assert available.ok
    assert available.detail.endswith("nexfort 0.1")


def test_without_onediff_it_says_what_to_install(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    package("onediff", "raise ImportError('no')")
    available = OneDiffBackend().available()
    assert not available.ok
    assert "pip install onediff" in available.detail
    for name in [name for name in sys.modules if name.partition(".")[0] == "onediff"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="pip install onediff onediffx"):
        register_with_onediff()


def test_without_python_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "cannot be started" in OneDiffBackend().available().detail
