"""A folder of graphs: whole files only, several processes at once, a size limit, and nothing of others' touched."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock, Timeout

from skipstep.compile import Cleared, GraphStore, default_store
from skipstep.compile.store import LIMIT
from skipstep.errors import GraphNotKeptWarning, OptionError, OutputError

NAME, DATA = "aot-0123.pt2", b"a graph" * 1000
DAY = 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> GraphStore:
    """One with a single graph."""
    made = GraphStore(tmp_path / "deep" / "graphs")
    put(made, NAME, DATA)
    return made


def put(store: GraphStore, name: str, data: bytes, *, age: float = 0) -> None:
    """Keep a graph that was last used `age` seconds ago."""
    with store.lock(name):
        store.write(name, data, title=f"the {name}")
    set_age(store.path(name), age)


def set_age(path: Path, seconds: float) -> None:
    used = time.time() - seconds
    os.utime(path, (used, used))


def read(store: GraphStore, name: str = NAME) -> bytes | None:
    with store.lock(name):
        return store.load(name, Path.read_bytes)


def names(store: GraphStore) -> list[str]:
    return [graph.name for graph in store.graphs()]


def files(store: GraphStore) -> set[str]:
    return {path.name for path in store.folder.iterdir() if path.suffix != ".lock"}


def test_what_was_put_in_is_what_comes_out(store: GraphStore) -> None:
    assert read(store) == DATA
    (graph,) = store.graphs()
    assert (graph.name, graph.title, graph.size) == (NAME, f"the {NAME}", len(DATA))
    assert abs(graph.used - time.time()) < 60
    assert files(store) == {NAME, NAME + ".json"}  # nothing half made
    assert read(GraphStore(store.folder)) == DATA


def test_a_file_made_elsewhere_is_moved_in(store: GraphStore, tmp_path: Path) -> None:
    made = tmp_path / "made.pt2"
    made.write_bytes(b"other")
    with store.lock("new.pt2"):
        store.put("new.pt2", made, title="new")
    assert not made.exists()
    assert not made.with_name("made.pt2.json").exists()
    assert read(store, "new.pt2") == b"other"
    assert read(store) == DATA


def test_a_graph_is_replaced_by_a_later_one_of_its_name(store: GraphStore) -> None:
    put(store, NAME, b"later")
    assert read(store) == b"later"
    assert names(store) == [NAME]


def test_what_is_not_there_is_none(store: GraphStore, tmp_path: Path) -> None:
    assert read(store, "never.pt2") is None
    assert read(GraphStore(tmp_path / "empty")) is None
    assert GraphStore(tmp_path / "nowhere").graphs() == []
    assert GraphStore(tmp_path / "nowhere").clear() == Cleared(freed=0, in_use=0)


def truncate(path: Path) -> None:
    path.write_bytes(DATA[:-1])


def alter(path: Path) -> None:
    path.write_bytes(DATA[:500] + b"X" + DATA[501:])


def swap(path: Path) -> None:
    path.write_bytes(b"something else altogether")


@pytest.mark.parametrize("damage", [truncate, alter, swap, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_set_aside_unread_and_can_be_made_anew(store: GraphStore, damage: Any) -> None:
    damage(store.path(NAME))
    damaged = store.path(NAME).read_bytes()
    seen: list[Path] = []
    with store.lock(NAME):
        assert store.load(NAME, seen.append) is None
    assert seen == []
    assert not store.path(NAME).exists()
    assert store.path(NAME + ".bad").read_bytes() == damaged
    assert names(store) == []
    assert read(store) is None
    put(store, NAME, DATA)
    assert read(store) == DATA


@pytest.mark.parametrize("error", [RuntimeError("not a package"), ValueError("constants"), OSError("cannot read")])
def test_a_whole_file_that_does_not_load_is_set_aside(store: GraphStore, error: Exception) -> None:
    def fail(_: Path) -> None:
        raise error

    with store.lock(NAME):
        assert store.load(NAME, fail) is None
    assert store.path(NAME + ".bad").read_bytes() == DATA
    assert read(store) is None


def test_a_file_that_cannot_be_read_is_set_aside(store: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's, or on a broken disk; root can read all files, so the error is made here."""
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == NAME:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    assert read(store) is None
    assert store.path(NAME + ".bad").exists()
    assert not store.path(NAME).exists()


def test_an_interrupt_while_loading_sets_nothing_aside(store: GraphStore) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.lock(NAME):
        store.load(NAME, interrupt)
    assert read(store) == DATA


NOTES = ["", "{", "[]", "null", "{}", '{"size": "many", "sha256": "", "title": ""}', '{"size": 7000}']


@pytest.mark.parametrize("note", NOTES)
def test_a_file_without_a_note_that_can_be_read_is_not_loaded(store: GraphStore, note: str) -> None:
    store.path(NAME + ".json").write_text(note)
    assert read(store) is None
    assert names(store) == []
    put(store, NAME, b"anew")
    assert read(store) == b"anew"


def test_a_note_that_is_not_text_is_none(store: GraphStore) -> None:
    store.path(NAME + ".json").write_bytes(b"\xff\xfe\x00")
    assert read(store) is None
    store.path(NAME + ".json").unlink()
    assert read(store) is None


def test_a_note_of_a_file_that_is_gone_is_none(store: GraphStore) -> None:
    store.path(NAME).unlink()
    assert read(store) is None
    assert names(store) == []


@pytest.mark.parametrize("moves", [0, 1])
def test_a_put_that_breaks_off_is_no_graph_and_the_next_succeeds(
    store: GraphStore, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """Killed before the first of its two renames, or between them."""
    done: list[object] = []

    def move(made: Path, to: Path) -> None:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(made.replace(to))

    monkeypatch.setattr("skipstep.compile.store.shutil.move", move)
    for name in (NAME, "new.pt2", "lost.pt2"):
        done.clear()
        with pytest.raises(KeyboardInterrupt):
            put(store, name, b"never finished")
    monkeypatch.undo()
    assert read(store) == (None if moves else DATA)  # not the old graph under the new one's note, nor the other way
    assert read(store, "new.pt2") is None
    put(store, "new.pt2", b"finished")
    assert read(store, "new.pt2") == b"finished"
    store.clear()
    assert files(store) == set()


def test_the_least_recently_used_make_room_and_the_new_one_stays(tmp_path: Path) -> None:
    store = GraphStore(tmp_path, limit=1000)
    for age, name in ((30, "a.pt2"), (40, "b.pt2"), (20, "c.pt2")):
        put(store, name, b"x" * 300, age=age)
    assert names(store) == ["c.pt2", "a.pt2", "b.pt2"]
    put(store, "d.pt2", b"x" * 400, age=10)  # 1300: b alone goes
    assert names(store) == ["d.pt2", "c.pt2", "a.pt2"]
    assert read(store, "a.pt2") is not None  # reading is using
    put(store, "e.pt2", b"x" * 300, age=5)
    assert names(store) == ["a.pt2", "e.pt2", "d.pt2"]
    assert files(store) == {name + end for name in names(store) for end in ("", ".json")}


def test_exactly_the_limit_fits(tmp_path: Path) -> None:
    store = GraphStore(tmp_path, limit=600)
    put(store, "a.pt2", b"x" * 300, age=20)
    put(store, "b.pt2", b"x" * 300, age=10)
    assert names(store) == ["b.pt2", "a.pt2"]


def test_one_that_is_larger_than_the_limit_is_kept_alone(tmp_path: Path) -> None:
    store = GraphStore(tmp_path, limit=100)
    put(store, "a.pt2", b"x" * 60)
    put(store, "b.pt2", b"x" * 500)
    assert names(store) == ["b.pt2"]
    assert read(store, "b.pt2") == b"x" * 500


def test_a_graph_made_anew_needs_no_room_besides_its_own(tmp_path: Path) -> None:
    store = GraphStore(tmp_path, limit=100)
    put(store, "a.pt2", b"x" * 50, age=20)
    put(store, "b.pt2", b"x" * 50, age=30)
    put(store, "a.pt2", b"y" * 50, age=10)
    assert names(store) == ["a.pt2", "b.pt2"]


def test_only_what_is_the_stores_is_cleared(store: GraphStore) -> None:
    foreign = {
        "package.json": b'{"name": "mine", "size": 1}',
        "poetry.lock": b"[[package]]",
        "film.mkv.part": b"half a film",
        "recording.bad": b"mine",
        "notes.txt": b"mine",
        "weights.pt2": b"mine",
        ".hidden": b"mine",
    }
    for name, data in foreign.items():
        store.path(name).write_bytes(data)
        set_age(store.path(name), 3 * DAY)
    folder = store.path("inductor")
    folder.mkdir()
    (folder / "kernel.json").write_text("{}")
    put(store, "b.blob", b"123")
    store.path("b.blob").write_bytes(b"damaged")
    assert read(store, "b.blob") is None
    making = store.path(".making-c.pt2-abc")
    making.mkdir()
    (making / "graph.pt2").write_bytes(b"xy")
    cleared = store.clear()
    assert cleared.freed >= len(DATA) + len(b"damaged") + 2
    assert cleared.in_use == 0
    assert {path.name for path in store.folder.iterdir()} == {*foreign, "inductor"}
    assert {name: store.path(name).read_bytes() for name in foreign} == foreign
    assert (folder / "kernel.json").exists()
    assert store.clear() == Cleared(0, 0)


def test_what_killed_processes_left_is_swept_after_a_day(store: GraphStore) -> None:
    def leave(age: float) -> set[str]:
        number = int(age)
        bad, folder = store.path(f"x{number}.pt2.bad"), store.path(f".making-x{number}.pt2-abc")
        folder.mkdir()
        (folder / "graph.cpp").write_text("int main")
        bad.write_bytes(b"x")
        for path in (bad, folder):
            set_age(path, age)
        return {bad.name, folder.name}

    old, young = leave(DAY + 60), leave(DAY - 600)
    foreign = store.path("film.mkv.part")
    foreign.write_bytes(b"half a film")
    set_age(foreign, 9 * DAY)
    set_age(store.path(NAME), 9 * DAY)  # a graph itself does not spoil
    put(store, "new.pt2", b"x")
    left = files(store)
    assert not old & left
    assert young <= left
    assert {NAME, "new.pt2", foreign.name} <= left


def test_a_damaged_file_is_kept_for_a_day_however_old_it_was(store: GraphStore) -> None:
    truncate(store.path(NAME))
    set_age(store.path(NAME), 9 * DAY)
    assert read(store) is None
    put(store, NAME, DATA)
    assert store.path(NAME + ".bad").exists()


def test_a_folder_that_cannot_be_made_is_named_and_costs_no_graph(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = GraphStore(tmp_path / "file" / "graphs")
    with store.lock(NAME), store.making(NAME) as folder:
        assert store.load(NAME, Path.read_bytes) is None
        (folder / "made").write_bytes(DATA)
        with pytest.warns(GraphNotKeptWarning, match="Not a directory; the next process makes them anew") as record:
            store.put(NAME, folder / "made", title="made")
        assert (folder / "made").read_bytes() == DATA
    assert not folder.exists()
    assert f"cannot keep graphs in {store.folder}: " in str(record[0].message)


def test_a_full_disk_loses_the_new_graph_and_no_other(store: GraphStore, full_disk: Callable[[], None]) -> None:
    full_disk()
    with pytest.warns(GraphNotKeptWarning, match="cannot keep graphs in .*: File too large; the next process makes"):
        store.write("big.pt2", b"x" * 100_000, title="big")
    assert read(store) == DATA
    assert read(store, "big.pt2") is None
    assert files(store) == {NAME, NAME + ".json"}  # no half of it


@pytest.fixture
def full_disk() -> Iterator[Callable[[], None]]:
    """Makes writing more than 10 kB to a file fail, as a full disk does but for the name of the error."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_can_only_be_read_is_read(store: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that came with a container's image; root can write everywhere, so the errors are made here."""
    monkeypatch.setattr("skipstep.compile.store.FileLock.acquire", refuse_to_write)
    monkeypatch.setattr(Path, "replace", refuse_to_write)
    monkeypatch.setattr(Path, "unlink", refuse_to_write)
    monkeypatch.setattr(os, "utime", refuse_to_write)
    assert read(store) == DATA
    truncate(store.path(NAME))
    assert read(store) is None


def refuse_to_write(*_: Any, **__: Any) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_graph_that_cannot_be_deleted_is_told(store: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", refuse_to_write)
    with pytest.raises(OutputError, match="cannot delete graphs in .*: Read-only file system"):
        store.clear()
    assert read(store) == DATA


def test_an_error_of_the_one_who_holds_the_lock_is_left_as_it_is(store: GraphStore) -> None:
    with pytest.raises(FileNotFoundError, match="mine"), store.lock(NAME):
        raise FileNotFoundError("mine")
    assert read(store) == DATA  # and the lock is free


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("of 2 GiB"), OSError(errno.ENOMEM, "no")])
def test_running_out_of_memory_while_loading_sets_nothing_aside(store: GraphStore, error: Exception) -> None:
    def fail(_: Path) -> None:
        raise error

    with pytest.raises(type(error)), store.lock(NAME):
        store.load(NAME, fail)
    assert read(store) == DATA


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_below_a_byte_is_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(OptionError, match=f"must be 1 byte or more, got {limit}"):
        GraphStore(tmp_path, limit)


def test_the_default_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = default_store()
    assert store.folder.name == "graphs"
    assert store.limit == LIMIT
    assert not store.folder.exists()  # until there is something to keep
    assert default_store(limit=5).limit == 5


HOLDER = """
import sys
from pathlib import Path
from skipstep.compile.store import GraphStore
store = GraphStore(Path(sys.argv[1]))
with store.lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
    store.write(sys.argv[2], b"made by another process", title="other")
"""


@pytest.fixture
def holder(store: GraphStore) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lock of "shared.pt2" and makes the graph when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.folder), "shared.pt2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def is_free(store: GraphStore, name: str) -> bool:
    try:
        FileLock(store.path(name + ".lock"), timeout=0).acquire().lock.release()
    except Timeout:
        return False
    return True


def test_a_process_waits_for_another_that_makes_the_same_graph(
    store: GraphStore, holder: subprocess.Popen[str]
) -> None:
    found: list[bytes | None] = []
    waiting = threading.Thread(target=lambda: found.append(read(store, "shared.pt2")))
    assert not is_free(store, "shared.pt2")
    assert read(store) == DATA  # another graph is not waited for
    waiting.start()
    assert found == []
    holder.communicate("go on\n", timeout=60)
    waiting.join(timeout=60)
    assert found == [b"made by another process"]


def test_what_another_process_makes_is_not_cleared(store: GraphStore, holder: subprocess.Popen[str]) -> None:
    making = store.path(".making-shared.pt2-abc")
    making.mkdir()
    cleared = store.clear()
    assert cleared.in_use == 1
    assert cleared.freed >= len(DATA)
    assert {path.name for path in store.folder.iterdir()} == {making.name, "shared.pt2.lock"}
    holder.communicate("go on\n", timeout=60)
    assert read(store, "shared.pt2") == b"made by another process"
    assert store.clear().in_use == 0
    assert list(store.folder.iterdir()) == []


def test_what_another_process_makes_anew_makes_no_room(store: GraphStore, holder: subprocess.Popen[str]) -> None:
    """It may be loading the very file."""
    graph = store.path("shared.pt2")
    graph.write_bytes(DATA)
    graph.with_name("shared.pt2.json").write_bytes(store.path(NAME + ".json").read_bytes())
    set_age(graph, 9 * DAY)
    small = GraphStore(store.folder, limit=len(DATA))
    put(small, "new.pt2", b"x" * len(DATA))
    assert set(names(store)) == {"shared.pt2", "new.pt2"}
    holder.communicate("go on\n", timeout=60)


def test_the_lock_of_a_killed_process_is_free(store: GraphStore, holder: subprocess.Popen[str]) -> None:
    assert not is_free(store, "shared.pt2")
    holder.kill()
    holder.wait(timeout=60)
    assert read(store, "shared.pt2") is None
    assert is_free(store, "shared.pt2")


def test_threads_of_one_process_wait_for_each_other_too(store: GraphStore) -> None:
    inside, order = threading.Event(), list[str]()

    def second() -> None:
        inside.wait(60)
        with store.lock(NAME):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.lock(NAME):
        inside.set()
        thread.join(0.1)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
