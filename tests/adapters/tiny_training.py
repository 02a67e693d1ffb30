"""Data for the training of a tiny Llama, and runs of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_folder import tiny_base

from skipstep.adapters.training import (
    Method,
    TrainingFiles,
    TrainingOptions,
    TrainingResult,
    TrainingStep,
    train_adapter,
)
from skipstep.promptllm import training_chats

COLOURS = {"sun": "gold", "sea": "blue", "fox": "red", "owl": "grey", "oak": "green", "sky": "pale", "bee": "amber"}


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def chats(path: Path, *, count: int = 24) -> Path:
    """Prompts that name a thing, answered with its colour."""
    words = [list(COLOURS.items())[i % len(COLOURS)] for i in range(count)]
    return write_lines(
        path, *({"prompt": f"a {thing} {i}", "completion": said} for i, (thing, said) in enumerate(words))
    )


def preferences(path: Path, *, count: int = 24) -> Path:
    """The colour, and instead of it the word nothing."""
    words = [list(COLOURS.items())[i % len(COLOURS)] for i in range(count)]
    return write_lines(
        path,
        *({"prompt": f"a {thing} {i}", "chosen": said, "rejected": "none"} for i, (thing, said) in enumerate(words)),
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared, so not to be changed."""
    return tiny_base(tmp_path_factory.mktemp("training") / "base")


@contextmanager
def of_libraries() -> Iterator[None]:
    """Without the notices of TRL and PEFT on what transformers renamed being errors."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing` is deprecated", FutureWarning)
        yield


def options(method: Method, **fields: Any) -> TrainingOptions:
    """Few short steps."""
    usual = TrainingOptions(method=method, steps=4, batch=2, rank=4, learning_rate=1e-2, max_tokens=64)
    return replace(usual, **fields)


def trained(files: TrainingFiles, asked: TrainingOptions, *, resume: bool = False, stop: int = -1) -> TrainingResult:
    """Train; interrupted after the step `stop`, as Ctrl-C does."""

    def report(step: TrainingStep) -> None:
        if step.step == stop:
            raise KeyboardInterrupt

    with of_libraries():
        return train_adapter(files, asked, chats=training_chats(), resume=resume, progress=report)
