"""Runs that are interrupted: what stays, what goes on from it, and that the result is the same to the last bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_training import base, chats, options, preferences, tiny_base, trained

from skipstep.adapters.training import Dpo, Mezo, Offsite, Sft, Sora, TrainingFiles
from skipstep.errors import AdapterError, OptionError, OutputError

__all__ = ["base"]
METHODS = {
    "sft": Sft(),
    "sft with dropout": Sft(),
    "sft of a prompt": Sft(kind="prompt-tuning"),
    "dpo": Dpo(),
    "mezo": Mezo(),
    "sora": Sora(penalty=3.0, stages=2),
    "offsite": Offsite(keep=1, bottom=1, top=1),
}


def contents(folder: Path) -> dict[str, Any]:
    """All files; of safetensors the header, whose metadata has no order, and the bytes behind it."""
    found: dict[str, Any] = {}
    for file in folder.iterdir():
        found[file.name] = raw = file.read_bytes()
        if file.suffix == ".safetensors":
            end = 8 + int.from_bytes(raw[:8], "little")
            found[file.name] = (json.loads(raw[8:end]), raw[end:])
    return found


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_ends_in_the_same_bits(base: Path, tmp_path: Path, name: str) -> None:
    method: Any = METHODS[name]
    folder = tiny_base(tmp_path / "base", layers=4) if name == "offsite" else base
    data = (preferences if name == "dpo" else chats)(tmp_path / "data.jsonl")
    asked = options(method, steps=7, checkpoint_every=2, dropout=0.2 if name == "sft with dropout" else 0.0)
    unbroken = TrainingFiles(base=folder, data=data, out=tmp_path / "unbroken")
    trained(unbroken, asked)
    broken = TrainingFiles(base=folder, data=data, out=tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        trained(broken, asked, stop=4)
    assert not broken.out.exists()
    made = trained(broken, asked, resume=True)
    assert contents(broken.out) == contents(unbroken.out)
    assert made.steps == 7
    assert not (tmp_path / "broken.training").exists()
    other = TrainingFiles(base=folder, data=data, out=tmp_path / "other")
    trained(other, options(method, steps=7, seed=1, dropout=asked.dropout))
    assert contents(other.out) != contents(unbroken.out)  # the seed decides


def test_a_checkpoint_that_was_not_finished_is_passed_over(base: Path, tmp_path: Path) -> None:
    data, asked = chats(tmp_path / "data.jsonl"), options(Sft(), steps=7, checkpoint_every=2)
    files = TrainingFiles(base=base, data=data, out=tmp_path / "adapter")
    trained(TrainingFiles(base=base, data=data, out=tmp_path / "unbroken"), asked)
    with pytest.raises(KeyboardInterrupt):
        trained(files, asked, stop=4)
    newest = tmp_path / "adapter.training" / "checkpoint-6"
    shutil.copytree(tmp_path / "adapter.training" / "checkpoint-4", newest)
    (newest / "whole").unlink()
    (newest / "optimizer.pt").write_bytes(b"half")
    trained(files, asked, resume=True)
    assert contents(files.out) == contents(tmp_path / "unbroken")


def test_a_run_without_a_checkpoint_leaves_nothing(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    with pytest.raises(KeyboardInterrupt):
        trained(files, options(Sft(), checkpoint_every=50), stop=1)
    assert [file.name for file in tmp_path.iterdir()] == ["data.jsonl"]
    with pytest.raises(OptionError, match="there is no checkpoint in .*; start without resuming"):
        trained(files, options(Sft()), resume=True)


def test_what_is_resumed_must_be_the_same_run(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    with pytest.raises(KeyboardInterrupt):
        trained(files, options(Mezo(), checkpoint_every=1), stop=2)
    with pytest.raises(OutputError, match="has a run that is not finished; resume it, or delete that folder"):
        trained(files, options(Mezo()))
    with pytest.raises(AdapterError, match=r"rank: the run was started with 4, and is resumed with 8; give the same"):
        trained(files, options(Mezo(), rank=8), resume=True)
    with pytest.raises(AdapterError, match="method: the run was started with .*mezo.*, and is resumed with .*sft"):
        trained(files, options(Sft()), resume=True)
    chats(files.data, count=25)
    with pytest.raises(AdapterError, match="data: the run was started with"):
        trained(files, options(Mezo()), resume=True)
    chats(files.data)
    assert (
        trained(files, options(Mezo(), checkpoint_every=3), resume=True).steps == 4
    )  # where checkpoints fall may change


def test_adalora_is_not_resumed(base: Path, tmp_path: Path) -> None:
    files = TrainingFiles(base=base, data=chats(tmp_path / "data.jsonl"), out=tmp_path / "adapter")
    with pytest.raises(OptionError, match="adalora cannot be resumed"):
        trained(files, options(Sft(kind="adalora")), resume=True)


@pytest.mark.parametrize("name", ["there", ".hidden", "a b"])
def test_a_place_that_cannot_be_is_refused_before_anything_is_loaded(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    if name == "there":
        out.mkdir()
        (out / "file").write_text("mine")
    files = TrainingFiles(base=tmp_path / "no base", data=tmp_path / "no data", out=out)
    with pytest.raises(OutputError, match="is not empty; name a new folder|is no name for an adapter"):
        trained(files, options(Sft()))
    assert not out.exists() or (out / "file").read_text() == "mine"


def test_a_foreign_folder_is_never_deleted(base: Path, tmp_path: Path) -> None:
    data = chats(tmp_path / "data.jsonl")
    foreign = tmp_path / "adapter.training"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text(json.dumps("mine"))
    with pytest.raises(OutputError, match="delete that folder"):
        trained(TrainingFiles(base=base, data=data, out=tmp_path / "adapter"), options(Sft()))
    assert (foreign / "thesis.txt").exists()
