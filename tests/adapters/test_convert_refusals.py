"""Pickles that are damaged or mean harm: nothing is run, nothing is left behind, and the message says why."""

from __future__ import annotations

import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pickled_adapters import (
    MARK,
    SOUND,
    Evil,
    compressed,
    cut,
    evil,
    hash_bomb,
    memory_bomb,
    old_tar,
    overlapping,
    saved,
    script,
    with_pickle,
)

from skipstep.adapters import convert_adapter
from skipstep.adapters.pickled_file import unpickle
from skipstep.adapters.tensors import read_header
from skipstep.adapters.unpickling import RefusedError, check_torch, read_pickle, write_tensors
from skipstep.errors import AdapterError, OptionError

OLD = {"_use_new_zipfile_serialization": False}
Write = Callable[[Path], object]
REFUSED: dict[str, tuple[Write, str]] = {
    "a function": (evil(), "wants to run posix"),
    "a function in an old file": (evil(**OLD), "wants to run posix"),
    "a function by name": (with_pickle(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R."), "wants to run os"),
    "an import": (with_pickle(b"\x80\x02cbuiltins\n__import__\nX\x02\x00\x00\x00os\x85R."), "wants to run __import__"),
    "a cut file": (cut(saved(SOUND), 100), "is a damaged zip file or was cut off"),
    "a cut old file": (cut(saved(SOUND, **OLD), 20), "is damaged or was cut off"),
    "no pickle within": (with_pickle(b"nonsense"), r"is more than tensors \(Unsupported operand 110\); it was not run"),
    "half a pickle": (with_pickle(b"\x80\x02" + b"(" * 10_000), "is damaged or was cut off"),
    "compressed members": (compressed, "compressed members, which torch.save does not write"),
    "overlapping members": (overlapping, "members overlap"),
    "a TorchScript program": (script, "is a TorchScript program, which is not run"),
    "another zip file": (lambda path: path.write_bytes(b"PK\x05\x06" + b"\0" * 18), "torch.save did not write"),
    "a list": (saved([torch.ones(2)]), "holds a list and no dictionary of tensors"),
    "a tensor": (saved(torch.ones(2)), "holds a Tensor and no dictionary"),
    "nothing": (saved({}), "holds an empty dictionary"),
    "a dictionary within": (saved({"state_dict": SOUND}), "has a dict called 'state_dict'"),
    "a number for a name": (saved({1: torch.ones(2)}), "has a tensor called '1'"),
    "a long name": (saved({"a" * 257: torch.ones(2)}), "names are of 1 to 256 characters"),
    "whole numbers": (saved({"a": torch.ones(2, dtype=torch.int64)}), "tensor a: is int64"),
    "a sparse tensor": (saved({"a": torch.eye(3).to_sparse()}), "tensor a: is float32, sparse_coo"),
    "no values": (saved({"a": torch.ones(2, device="meta")}), "tensor a: is float32, strided on meta"),
    "one value a million million times": (
        saved({"a": torch.ones(1).expand(10**6, 10**6)}),
        r"tensor a: \[1000000, 1000000\] is larger than what is stored of it",
    ),
    "the same values again and again": (
        saved(dict.fromkeys(map(str, range(100)), torch.ones(10_000))),
        "names the same values again and again: 4000000 bytes",
    ),
    "too many tensors": (saved(dict.fromkeys(map(str, range(10_001)), torch.ones(1))), "has 10001 tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_what_is_no_dictionary_of_tensors_is_refused(name: str, tmp_path: Path) -> None:
    write, message = REFUSED[name]
    write(tmp_path / "x.bin")
    with pytest.raises(RefusedError, match=message):
        read_pickle(tmp_path / "x.bin")
    assert os.listdir(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("options", [{}, OLD], ids=["zip", "old"])
def test_a_file_with_wrong_bytes_is_refused_or_sound(options: dict[str, bool], tmp_path: Path) -> None:
    path, draw, outcomes = tmp_path / "x.bin", random.Random(0), {"refused": 0, "sound": 0}
    torch.save(SOUND, path, **options)
    raw = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(raw))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            write_tensors(read_pickle(path), tmp_path / "made")
            read_header(tmp_path / "made")
            outcomes["sound"] += 1
        except RefusedError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


def test_the_evil_ones_would_run(tmp_path: Path) -> None:
    evil()(tmp_path / "x.bin")
    torch.load(tmp_path / "x.bin", weights_only=False)
    assert (tmp_path / MARK).is_dir()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (evil(), "^x.bin: wants to run posix, so it is a program; it was not run$"),
        (with_pickle(memory_bomb()), "^x.bin: wants more memory than a file of its size needs$"),
        (saved({"\x1b[2J": 1}), r"^x.bin: has a int called '\\x1b\[2J', and only tensors are read$"),
    ],
    ids=["a function", "a tebibyte", "control characters"],
)
def test_the_process_says_why_and_leaves_nothing(write: Write, message: str, tmp_path: Path) -> None:
    write(tmp_path / "x.bin")
    with pytest.raises(AdapterError, match=message):
        convert_adapter(tmp_path / "x.bin", tmp_path / "out" / "x.safetensors")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["x.bin"]


def test_a_pickle_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with_pickle(hash_bomb())(tmp_path / "x.bin")
    (tmp_path / "work").mkdir()
    with pytest.raises(AdapterError, match=r"^x.bin: keeps the processor busy for more than 2 s"):
        unpickle(tmp_path / "x.bin", tmp_path / "work", seconds=2)


def _link(path: Path) -> None:
    torch.save(SOUND, path.with_name("real.bin"))
    path.symlink_to("real.bin")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "^x.bin: has 0 bytes"),
        (lambda path: path.write_bytes(pickle.dumps(Evil(path.with_name(MARK)))), "^x.bin: is no file of torch.save"),
        (lambda path: path.write_bytes(b"\x80\x02}."), "^x.bin: is no file of torch.save"),
        (old_tar, "^x.bin: is an old tar file"),
        (_link, "^x.bin: is a link"),
        (os.mkfifo, "^x.bin: is no regular file"),
        (lambda _: None, "there is no adapter at .*x.bin"),
        (lambda path: path.mkdir(), "^x.bin: has none of adapter_model.bin, "),
    ],
    ids=["empty", "a bare pickle", "a bare dictionary", "a tar file", "a link", "a pipe", "missing", "a folder"],
)
def test_other_files_reach_no_process(
    write: Write, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x.bin")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(AdapterError, match=message):
        convert_adapter(tmp_path / "x.bin", tmp_path / "out" / "x.safetensors")
    assert {path.name for path in tmp_path.rglob("*")} <= {"x.bin", "real.bin"}


DEEDS = {
    "import socket; socket.socket()": "socket.__new__",
    "os.system('true')": "os.system",
    "import subprocess; subprocess.run(['true'])": "subprocess.Popen",
    "os.fork()": "os.fork",
    "os.remove('source')": "os.remove",
    "open('other', 'w')": "to write other",
    "os.open('other', os.O_CREAT | os.O_RDWR)": "to write other",
}


def test_the_process_has_no_use_for_anything_else(tmp_path: Path) -> None:
    (tmp_path / "source").touch()
    program = f"""
import os, socket, subprocess, sys
from skipstep.adapters.unpickling import RefusedError, watch
sys.addaudithook(watch)
open('source').read(); open('made', 'wb').close()
for deed in {list(DEEDS)}:
    try:
        exec(deed)
        print('done')
    except RefusedError as error:
        print(error)
"""
    run = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        f"wanted {event} while it was read, which no tensor needs" for event in DEEDS.values()
    ]
    assert sorted(os.listdir(tmp_path)) == ["made", "source"]


def test_the_process_has_nothing_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        calls.append((command, options))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setattr(subprocess, "run", run)
    torch.save(SOUND, tmp_path / "x.bin")
    with pytest.raises(AdapterError, match="the process that read it ended with 1: no message"):
        convert_adapter(tmp_path / "x.bin", tmp_path / "x.safetensors")
    ((command, options),) = calls
    assert command[1:4] == ["-I", "-m", "skipstep.adapters.unpickling"]
    assert options["env"] == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert options["stdin"] == subprocess.DEVNULL
    assert str(tmp_path / "x.bin") not in map(str, command)


def test_torch_with_known_holes_is_not_used() -> None:
    for version in ("2.5.1", "2.9.1+cpu", "1.13.0", "unknown"):
        with pytest.raises(RefusedError, match=re.escape(f"is not read with torch {version}, which has")):
            check_torch(version)
    for version in ("2.10.0", "2.13.0+cpu", "3.0.0"):
        check_torch(version)


def test_wrong_usage(tmp_path: Path) -> None:
    torch.save(SOUND, tmp_path / "x.bin")
    with pytest.raises(OptionError, match="layout must be auto or one of peft, sora, offsite, image, got 'onnx'"):
        convert_adapter(tmp_path / "x.bin", tmp_path / "x.safetensors", layout="onnx")
    with pytest.raises(OptionError, match=r"is written as one .safetensors file, got y.bin"):
        convert_adapter(tmp_path / "x.bin", tmp_path / "y.bin")
    assert os.listdir(tmp_path) == ["x.bin"]
