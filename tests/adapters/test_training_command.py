"""`skipstep adapters train` as a person meets it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tiny_training import base, chats, of_libraries, write_lines

from skipstep.adapters import inspect_adapter
from skipstep.adapters.training import TrainingStep
from skipstep.cli import main

__all__ = ["base"]
SHORT = ("--steps", "4", "--batch", "2", "--rank", "4", "--targets", "q_proj, v_proj")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop, of_libraries():
        main(("adapters", "train", *map(str, arguments)))
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_it_trains_and_says_what_it_made(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = chats(tmp_path / "d.jsonl"), tmp_path / "adapter"
    code, printed, errors = run(capsys, "--base", base, "--data", data, "--out", out, *SHORT)
    assert (code, errors) == (0, "")
    lines = [line.split(maxsplit=1) for line in printed.splitlines()]
    assert ["data", "22 examples, 2 more held out, 0 cut to their first tokens"] in lines
    size = (out / "adapter_model.safetensors").stat().st_size
    assert ["adapter", f"{out} (LoRA, {size:,} bytes)"] in lines
    assert [name for name, _ in lines].count("measured") == 2
    assert {module.name.split(".")[-1] for module in inspect_adapter(out).modules} == {"q_proj", "v_proj"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--beta", "0.2"), 2, "error: --beta is for dpo, got 0.2 with sft"),
        (("--method", "sora", "--kind", "dora"), 2, "error: --kind is for sft, dpo, mezo, got 'dora' with sora"),
        (("--method", "mezo", "--quantize", "nf4"), 2, "quantize is for sft, dpo and sora, got 'nf4' for mezo"),
        (("--method", "offsite", "--targets", "q_proj"), 2, "offsite trains whole layers"),
        (("--method", "mezo", "--epsilon", "0"), 2, "epsilon must be above 0, got 0.0"),
        (("--dropout", "1"), 2, "dropout must be from 0 to below 1, got 1.0"),
        (("--rank", "0"), 2, "rank must be 1..256, got 0"),
        (("--rate", "nan"), 2, "learning_rate must be above 0 and at most 10, got nan"),
        (("--threads", "0"), 2, "threads must be 1..256, got 0"),
        (("--chat", "jinja"), 2, "the chat template must be one of chatml, ultralm, llama2, raw, got 'jinja'"),
        (("--device", "cuda:1"), 2, "device must be one of cpu, cuda, mps, got 'cuda:1'"),
        (("--method", "dpo"), 1, "d.jsonl line 1: chosen is missing beside prompt, completion"),
        (("--max-tokens", "8"), 1, "d.jsonl line 1: no answer begins within 8 tokens"),
        (("--resume",), 2, "there is no checkpoint in"),
    ],
)
def test_a_refusal_is_one_line(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    data = chats(tmp_path / "d.jsonl")
    found, printed, errors = run(capsys, "--base", base, "--data", data, "--out", tmp_path / "a", *arguments)
    assert (found, printed, errors.count("\n")) == (code, "", 1)
    assert message in errors
    assert [file.name for file in tmp_path.iterdir()] == ["d.jsonl"]


def test_a_folder_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_lines(tmp_path / "d.jsonl", {"prompt": "a", "completion": "b"})
    (tmp_path / "base").mkdir()
    code, _, errors = run(capsys, "--base", tmp_path / "base", "--data", data, "--out", tmp_path / "a")
    assert (code, errors.count("\n")) == (1, 1)
    assert "config.json" in errors


def test_ctrl_c_keeps_the_last_checkpoint_and_says_how_to_go_on(base: Path, tmp_path: Path) -> None:
    data = chats(tmp_path / "d.jsonl")
    command = [sys.executable, "-m", "skipstep", "adapters", "train", "--base", base, "--data", data]
    command += ["--out", tmp_path / "a", "--method", "mezo", "--checkpoint-every", "2"]
    place = tmp_path / "a.training" / "checkpoint.safetensors"
    with ended([*map(str, command), "--steps", "100000"]) as process:
        deadline = time.monotonic() + 120
        while not place.is_file() and process.poll() is None and time.monotonic() < deadline:
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "a.training has the last checkpoint; the same command with --resume goes on" in printed.replace("\n", " ")
    assert errors == "error: interrupted; no result was written\n"
    assert place.is_file()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("before", [signal.default_int_handler, signal.SIG_IGN])
def test_an_interrupt_that_a_destructor_swallowed_ends_the_next_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: Any
) -> None:
    from skipstep.adapters import training

    class Trained(Exception):
        """What ends it otherwise."""

    steps = []

    def train(*_: object, progress: Callable[[TrainingStep], None], **__: object) -> None:
        for number in range(3):
            steps.append(number)
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            progress(TrainingStep(step=number, steps=3, loss=1.0))
        raise Trained("it went on")

    monkeypatch.setattr(training, "train_adapter", train)
    data, out = chats(tmp_path / "d.jsonl"), tmp_path / "a"
    found = signal.signal(signal.SIGINT, before)
    try:
        code, _, errors = run(capsys, "--base", base, "--data", data, "--out", out, *SHORT)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, found)
    if before is signal.SIG_IGN:  # in the background of a script, say
        assert (code, steps) == (1, [0, 1, 2])
        assert "it went on" in errors
    else:
        assert (code, errors, steps) == (1, "error: interrupted; no result was written\n", [0])


@contextmanager
def ended(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended after use, whatever became of it."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever these tests were started with
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
