"""Servers that share what they compiled: the second compiles nothing, and none waits for the place."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from served import serving
from skipstep_service.engines.diffusion import DiffusionEngine
from skipstep_service.engines.shared_graphs import ServerGraphs
from skipstep_service.opening import new_engine
from skipstep_service.serve import environment_of
from skipstep_service.settings import Settings

from skipstep.errors import OptionError

pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'skipstep[openvino]'")
pytestmark = pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning")

SHAPE = {"model": "demo", "width": 64, "height": 64}
ENGINE: dict[str, Any] = {
    "engine": "skipstep",
    "models": {"demo": "demo"},
    "compiler": "openvino",
    "warm_shapes": [SHAPE],
    "max_rows": 1,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def counts(engine: DiffusionEngine) -> tuple[int, int]:
    """Graphs that its one compiler made, and loaded."""
    (compiler,) = engine._models.get("demo").compilers.values()
    assert compiler.counters.failures == []
    return compiler.counters.compiles, compiler.counters.loads


def test_a_second_machine_compiles_nothing(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for machine in ("first", "second"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        engine = DiffusionEngine(Settings(**ENGINE, compiled=str(place)))
        engine.warm_up()
        engine.close(60.0)
        made.append(counts(engine))
    (compiled, none), second = made
    assert none == 0
    assert compiled > 0
    assert second == (0, compiled)


def test_without_the_setting_nothing_is_shared() -> None:
    engine = DiffusionEngine(Settings(engine="skipstep", models={"demo": "demo"}))
    assert engine._graphs is None
    assert engine._models.get("demo").store is None
    engine.close(0.0)


def test_a_server_ends_and_has_shared(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(tmp_path, **ENGINE, compiled=str(place)):
        pass
    notes = [json.loads(note.read_text()) for note in place.glob("*/*.json")]
    assert len(notes) == len(list((tmp_path / "cache").rglob("*.blob"))) > 0
    for note in notes:
        (graph,) = place.glob(f"*/{note['sha256']}")
        assert graph.stat().st_size == note["size"]


def test_a_place_that_hangs_keeps_no_server_from_starting(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Looking for the first graph takes as long as the patience, and for the others nothing."""
    released, opened = threading.Event(), LocalFileSystem._open

    def hang(files: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        if Path(path).is_relative_to(place):
            released.wait(60.0)
        return opened(files, path, *args, **kwargs)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(LocalFileSystem, "_open", hang)
    monkeypatch.setattr("skipstep.compile.shared.PATIENCE_S", 0.05)
    with caplog.at_level(logging.WARNING, "skipstep.compile"), serving(tmp_path, **ENGINE, compiled=str(place)):
        assert caplog.text.count("are not looked for any more: TimeoutError") == 1
    released.set()


def test_inductors_kernels_go_by_what_is_made_ready(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes, rows and models decide what is compiled; the place and the port do not."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    usual: dict[str, Any] = {**ENGINE, "compiler": "inductor", "compiled": str(place)}
    model = DiffusionEngine(Settings(**usual))._models.get("demo")

    def name(**changed: Any) -> str:
        return ServerGraphs(Settings(**{**usual, **changed}))._bundle({"demo": model}).name

    assert name() == name(port=1, compiled=str(tmp_path / "elsewhere"))
    others = [name(max_rows=2), name(warm_shapes=[{**SHAPE, "width": 128}]), name(warm_shapes=[SHAPE, SHAPE])]
    assert len({name(), *others}) == 4


@pytest.mark.parametrize("place", ["nothing://place", ""])
def test_a_place_that_nobody_knows_keeps_a_server_from_starting(place: str) -> None:
    with pytest.raises((OptionError, ValueError), match="fsspec URL, got 'nothing://place'|at least 1 character"):
        new_engine(Settings(engine="skipstep", models={"demo": "demo"}, compiled=place))


def test_the_place_reaches_the_worker_process() -> None:
    assert environment_of(Settings(compiled="s3://bucket/graphs"))["SKIPSTEP_COMPILED"] == "s3://bucket/graphs"
