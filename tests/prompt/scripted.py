"""An engine that answers what a test says."""

from __future__ import annotations

from collections.abc import Iterator

from skipstep.errors import PromptEngineError
from skipstep.promptllm import Piece, Question


class ScriptedEngine:
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

    def close(self) -> None: ...
