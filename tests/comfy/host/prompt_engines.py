"""Engines of the prompt LLM that fail, hang, or keep what they were asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

from skipstep.errors import PromptEngineError
from skipstep.promptllm import EchoEngine, Engine, Piece, Question


class Silent(Engine):
    """Begins an answer, and does not end it before it is closed."""

    name = model = identity = "silent"

    def __init__(self, *, speaks: bool) -> None:
        self.speaks = speaks
        self.closed = 0
        self.ended = Event()

    def generate(self, question: Question) -> Iterator[Piece]:
        try:
            while time.monotonic() < question.deadline:
                self.ended.wait(0.02)
                if self.speaks:
                    yield Piece(text="soft light, ")
        finally:
            self.ended.set()

    def close(self) -> None:
        self.closed += 1


class Broken(Engine):
    """Fails as often as is said, then echoes."""

    name = model = identity = "broken"

    def __init__(self, *, times: int) -> None:
        self.left = times

    def generate(self, question: Question) -> Iterator[Piece]:
        self.left -= 1
        if self.left >= 0:
            raise PromptEngineError("the server is gone")
        yield from EchoEngine().generate(question)


class Recorded(EchoEngine):
    """Keeps what it was asked."""

    identity = "recorded"

    def __init__(self) -> None:
        self.questions: list[Question] = []

    def generate(self, question: Question) -> Iterator[Piece]:
        self.questions.append(question)
        return super().generate(question)


class Large(EchoEngine):
    """Takes as much memory as is said, once it was asked."""

    identity = "large"

    def __init__(self, size: int) -> None:
        self.size = size
        self.loaded = 0

    @property
    def loaded_bytes(self) -> int:
        return self.loaded

    def generate(self, question: Question) -> Iterator[Piece]:
        self.loaded = self.size
        yield Piece(text="soft light")

    def close(self) -> None:
        self.loaded = 0
