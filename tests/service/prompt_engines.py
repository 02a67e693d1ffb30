"""Prompt models that do what a test says, for servers of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from adapters.adapter_drafts import BASE

from skipstep.errors import PromptEngineError
from skipstep.promptllm import Engine, Piece, Question

Script = Callable[[Question], Iterator[str]]


def words(_: Question) -> Iterator[str]:
    """A quick answer."""
    yield from ("soft light, ", "film grain")


def slow(_: Question) -> Iterator[str]:
    """An answer of a minute, if nobody stops it."""
    for number in range(3000):
        time.sleep(0.02)
        yield f"word{number}, "


def dead(_: Question) -> Iterator[str]:
    """Breaks off, in a way that no engine should."""
    yield "soft "
    raise RuntimeError("the library is broken")


def refusing(_: Question) -> Iterator[str]:
    """Breaks off as engines do."""
    yield "soft "
    raise PromptEngineError("the model is gone")


class Playing(Engine):
    """Plays a script; notes the questions, and how often an answer was left before its end."""

    name = "playing"
    model = "tiny-model"
    special_tokens = frozenset({"<own>"})
    base = BASE
    families = frozenset({"LoRA"})

    def __init__(self, script: Script = words) -> None:
        self.identity = "playing 1"
        self.script = script
        self.questions: list[Question] = []
        self.left = threading.Semaphore(0)
        self.is_loaded = False

    @property
    def loaded_bytes(self) -> int:
        return 12345 if self.is_loaded else 0

    def generate(self, question: Question) -> Iterator[Piece]:
        self.questions.append(question)
        self.is_loaded = True
        is_whole = False
        try:
            for text in self.script(question):
                yield Piece(text=text)
            is_whole = True
        finally:
            if not is_whole:
                self.left.release()

    def close(self) -> None:
        self.is_loaded = False


class Hanging(Playing):
    """Answers nothing before it is let go, whatever the deadline."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def generate(self, question: Question) -> Iterator[Piece]:
        self.questions.append(question)
        self.let_go.wait()
        yield Piece(text="late, very late")
