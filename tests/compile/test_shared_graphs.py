"""Graphs that machines share: whole ones only, never waited for, and made here where the place fails."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from compile_toys import errors_of, toy_call, toy_unet
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from skipstep.compile import Compiler, GraphStore, KernelBundle, SharedGraphs, shared_store
from skipstep.compile import _host as host
from skipstep.compile.inductor import inductor_availability
from skipstep.errors import OptionError

NAME, DATA = "aot-0123.pt2", b"a graph" * 300_000  # more than a chunk
WAIT_S = 30.0


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place that is not there yet."""
    if request.param == "folder":
        yield str(tmp_path / "deep" / "shared")
        return
    place = f"memory://{uuid.uuid4().hex}/shared"
    yield place
    for path in shared_files(place).values():
        fsspec.filesystem("memory").rm(path)


class Machine:
    """A cache folder and its way to the shared place."""

    def __init__(self, folder: Path, url: str, *, patience_s: float = WAIT_S) -> None:
        self.shared = SharedGraphs(url, patience_s=patience_s)
        self.store = GraphStore(folder, shared=self.shared)

    def put(self, data: bytes = DATA, name: str = NAME) -> None:
        with self.store.lock(name):
            self.store.write(name, data, title="a pass")
        assert self.shared.close(WAIT_S)

    def read(self, name: str = NAME) -> bytes | None:
        with self.store.lock(name):
            read = self.store.load(name, Path.read_bytes)
        assert self.shared.close(WAIT_S)
        return read


def shared_files(url: str) -> dict[str, str]:
    """Paths of the place, by the last part of their names."""
    files, root = fsspec.core.url_to_fs(url)
    return {path.rpartition("/")[2]: path for path in files.find(root)}


def damage(url: str, name: str, data: bytes) -> None:
    files, _ = fsspec.core.url_to_fs(url)
    files.pipe_file(shared_files(url)[name], data)


def graph_file(url: str) -> str:
    """The one file that is no note."""
    (name,) = [name for name in shared_files(url) if not name.endswith(".json")]
    return name


def test_what_one_machine_made_another_reads(url: str, tmp_path: Path) -> None:
    first, second = Machine(tmp_path / "first", url), Machine(tmp_path / "second", url)
    assert second.read() is None
    first.put()
    assert second.read() == DATA
    (graph,) = second.store.graphs()
    assert (graph.name, graph.title, graph.size) == (NAME, "a pass", len(DATA))
    damage(url, graph_file(url), b"")
    assert second.read() == DATA  # its own by now
    assert len(shared_files(url)) == 2


def test_what_a_machine_had_before_is_brought_when_it_is_used(url: str, tmp_path: Path) -> None:
    alone = GraphStore(tmp_path / "first")
    with alone.lock(NAME):
        alone.write(NAME, DATA, title="of before")
    assert Machine(tmp_path / "second", url).read() is None
    assert Machine(tmp_path / "first", url).read() == DATA
    assert Machine(tmp_path / "second", url).read() == DATA


def test_a_damaged_file_of_ones_own_is_replaced_by_the_shared_one(url: str, tmp_path: Path) -> None:
    first = Machine(tmp_path / "first", url)
    first.put()
    first.store.path(NAME).write_bytes(DATA[:-1])
    assert first.read() == DATA


@pytest.mark.parametrize("spoiled", [DATA[:-1], DATA + b"X", b"X" + DATA[1:], b""])
def test_a_damaged_file_is_refused_and_made_anew(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoiled: bytes
) -> None:
    Machine(tmp_path / "first", url).put()
    damage(url, graph_file(url), spoiled)
    second = Machine(tmp_path / "second", url)
    assert second.read() is None
    assert f"the shared graph {NAME} in {url} is not used: its file is not the one that was noted" in caplog.text
    assert not any((tmp_path / "second").glob("*.pt2"))
    second.put()
    assert Machine(tmp_path / "third", url).read() == DATA


@pytest.mark.parametrize(
    "note",
    [b"", b"\xff", b"[]", b"{}", b'{"size": -1, "sha256": "", "title": ""}']
    + [json.dumps({"size": 5, "sha256": name, "title": ""}).encode() for name in ("../../x", "a" * 63, "A" * 64)],
)
def test_a_note_that_names_no_file_is_refused(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, note: bytes
) -> None:
    Machine(tmp_path / "first", url).put()
    damage(url, NAME + ".json", note)
    assert Machine(tmp_path / "second", url).read() is None
    assert "is not used: its note" in caplog.text


def test_a_note_without_its_file_is_nothing(url: str, tmp_path: Path) -> None:
    """As while somebody deletes, or where the order of a file and its note were turned round."""
    Machine(tmp_path / "first", url).put()
    files, _ = fsspec.core.url_to_fs(url)
    files.rm_file(shared_files(url)[graph_file(url)])
    assert Machine(tmp_path / "second", url).read() is None


def test_the_note_comes_after_its_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is switched off in between leaves nothing that another would read."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("switched off")

    kind = LocalFileSystem if "://" not in url else MemoryFileSystem
    with monkeypatch.context() as patch:
        patch.setattr(kind, "pipe_file", fail)
        Machine(tmp_path / "first", url).put()
    assert shared_files(url).keys() == {graph_file(url)}
    assert Machine(tmp_path / "second", url).read() is None


def test_two_that_bring_one_at_once_leave_a_whole_one(url: str, tmp_path: Path) -> None:
    machines = [Machine(tmp_path / str(number), url) for number in range(2)]
    made = [bytes([number]) * 3_000_000 for number in range(2)]
    barrier = threading.Barrier(2)

    def bring(machine: Machine, data: bytes) -> None:
        for _ in range(5):
            barrier.wait(WAIT_S)
            machine.put(data)

    threads = [threading.Thread(target=bring, args=pair) for pair in zip(machines, made, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Machine(tmp_path / "third", url).read() in made
    assert not [name for name in shared_files(url) if name.endswith(".unfinished")]


def test_other_processors_have_graphs_of_their_own(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilers use every instruction of the machine that they run on; another one would be killed by them."""
    Machine(tmp_path / "first", url).put()
    host.host_identity.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(host, "cpu_features", lambda: ("fewer",))
        assert Machine(tmp_path / "second", url).read() is None
        host.host_identity.cache_clear()
    assert Machine(tmp_path / "second", url).read() == DATA


def test_a_place_that_cannot_be_written_costs_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    machine = Machine(tmp_path / "first", str(tmp_path / "file" / "shared"))
    assert machine.read() is None
    machine.put()
    assert machine.read() == DATA
    assert "a graph was not shared in" in caplog.text


class Hanging(MemoryFileSystem):  # type: ignore[misc]
    """A place that answers nothing until it is released."""

    protocol = "hanging"
    released = threading.Event()
    asked = 0

    def _wait(self) -> None:
        type(self).asked += 1
        self.released.wait(WAIT_S)

    def _open(self, *args: Any, **kwargs: Any) -> Any:
        self._wait()
        return super()._open(*args, **kwargs)

    def exists(self, *args: Any, **kwargs: Any) -> bool:
        self._wait()
        return bool(super().exists(*args, **kwargs))

    def makedirs(self, *args: Any, **kwargs: Any) -> None:
        self._wait()
        super().makedirs(*args, **kwargs)


@pytest.fixture
def hanging() -> Iterator[str]:
    fsspec.register_implementation("hanging", Hanging, clobber=True)
    Hanging.released.clear()
    Hanging.asked = 0
    yield "hanging://place"
    Hanging.released.set()


def test_a_place_that_hangs_is_left_alone(hanging: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(tmp_path / "first", hanging, patience_s=0.05)
    with machine.store.lock(NAME):
        assert machine.store.load(NAME, Path.read_bytes) is None
        assert machine.store.load("other.pt2", Path.read_bytes) is None
    assert Hanging.asked == 1  # not once for each graph
    assert "are not looked for any more: TimeoutError: nothing came for 0.05 s" in caplog.text
    with machine.store.lock(NAME):
        machine.store.write(NAME, DATA, title="a pass")  # returns, whatever becomes of the upload
        assert machine.store.load(NAME, Path.read_bytes) == DATA
    assert not machine.shared.close(0.05)
    Hanging.released.set()
    assert machine.shared.close(WAIT_S)
    assert Machine(tmp_path / "second", hanging).read() == DATA


@pytest.mark.parametrize("url", ["nothing://place", "htp://x"])
def test_a_place_that_nobody_knows_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match=f"through a folder or an fsspec URL, got '{url}'"):
        SharedGraphs(url)


def test_the_store_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared = SharedGraphs(str(tmp_path / "shared"))
    store = shared_store(shared)
    with store.lock(NAME):
        store.write(NAME, DATA, title="a pass")
    assert shared.close(WAIT_S)
    assert store.path(NAME).is_relative_to(tmp_path / "cache")
    assert Machine(tmp_path / "second", str(tmp_path / "shared")).read() == DATA


def test_openvino_compiles_once_for_two_machines(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'skipstep[openvino]'")
    place = str(tmp_path / "shared")

    def counts(name: str) -> tuple[int, int]:
        machine = Machine(tmp_path / name, place)
        compiler = Compiler("openvino", store=machine.store)
        assert max(errors_of(compiler(toy_unet(), (0,)), toy_call())) <= 1e-4  # kernels add in another order
        assert machine.shared.close(WAIT_S)
        return compiler.counters.compiles, compiler.counters.loads

    assert counts("first") == (2, 0)
    assert counts("second") == (0, 2)
    damage(place, next(name for name in shared_files(place) if not name.endswith(".json")), b"not a graph")
    assert counts("third") == (1, 1)
    assert counts("fourth") == (0, 2)


@pytest.mark.slow
@pytest.mark.usefixtures("lean_inductor")
@pytest.mark.skipif(not inductor_availability().ok, reason=inductor_availability().detail)
@pytest.mark.timeout(900)
def test_inductors_kernels_are_found_by_the_second_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, device = str(tmp_path / "shared"), torch.device("cpu")

    def counts(name: str) -> tuple[bool, int, int, bool]:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / name / "kernels"))
        torch.compiler.reset()
        machine = Machine(tmp_path / name, place)
        bundle = KernelBundle(machine.store, device, "a model", 64)
        is_found = bundle.load()
        compiler = Compiler("inductor")
        assert max(errors_of(compiler(toy_unet(), (0,)), toy_call())) <= 1e-4
        made = compiler.counters.compiles - compiler.counters.cached
        is_kept = bundle.keep(made=made)
        assert machine.shared.close(WAIT_S)
        return is_found, compiler.counters.compiles, made, is_kept

    assert counts("first") == (False, 2, 2, True)
    assert counts("second") == (True, 2, 0, False)


@pytest.mark.parametrize("text", [b"", b"not of torch"])
def test_kernels_that_torch_cannot_read_are_none(tmp_path: Path, text: bytes) -> None:
    store = GraphStore(tmp_path)
    bundle = KernelBundle(store, torch.device("cpu"), "a model")
    assert not bundle.load()
    store.write(bundle.name, text, title="kernels")
    assert not bundle.load()
    assert KernelBundle(store, torch.device("cpu"), "another").name != bundle.name
