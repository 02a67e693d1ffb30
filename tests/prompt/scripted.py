"""An engine that answers what a test says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from skipstep.errors import PromptEngineError
from skipstep.promptllm import Engine, ExpandRequest, Piece, Question, Stacked
from skipstep.promptllm.asked import Asked, question


class ScriptedEngine(Engine):
    """Gives one answer, or fails with a reason, and keeps the questions."""

    name = "scripted"
    model = "scripted"
    special_tokens = frozenset({"<own>"})

    def __init__(self, answer: str, *, cut: bool = False, fails: str = "", identity: str = "scripted 1") -> None:
        self.identity = identity
        self.questions: list[Question] = []
        self._answer, self._cut, self._fails = answer, cut, fails

    def generate(self, question: Question) -> Iterator[Piece]:
        self.questions.append(question)
        if self._fails:
            raise PromptEngineError(self._fails)
        half = len(self._answer) // 2
        yield Piece(text=self._answer[:half])
        yield Piece(text=self._answer[half:], cut=self._cut)


def asked(
    request: ExpandRequest, engine: Engine, *, stack: Sequence[Stacked] = (), seconds: float = 60, **changed: object
) -> Question:
    """What an expander asks for this request, with some of it changed."""
    made = question(Asked(request=request, adapters=tuple(stack), started=time.monotonic()), engine.special_tokens)
    return replace(made, deadline=time.monotonic() + seconds, **changed)  # type: ignore[arg-type]


def written(engine: Engine, question: Question) -> str:
    """The whole answer."""
    return "".join(piece.text for piece in engine.generate(question))
