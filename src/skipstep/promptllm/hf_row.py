"""One answer of a batch: its tokens as text while they come, and where it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..errors import PromptEngineError
from .engine import Answer, Piece, Question
from .pieces import Put


class Row:
    """The answer to one question. `put` gets each piece, and answers True when nobody reads any more.

    `own` is the number of the question's tokens. The answer ends at a token of `ends`, before a text of `stop`, after
    `question.max_tokens`, or with an error at its deadline.
    """

    def __init__(
        self, question: Question, tokenizer: Any, *, own: int, ends: frozenset[int], stop: Sequence[str], put: Put
    ) -> None:
        self.question = question
        self.own = own
        self.done = False
        self.error: PromptEngineError | None = None
        self._tokenizer = tokenizer
        self._ends, self._stop = ends, stop
        self._put = put
        self._tokens: list[int] = []
        self._text = ""
        self._given = 0
        self._held = max(map(len, stop), default=1) - 1  # what may be the beginning of a stop text
        self._started = time.monotonic()

    def fail(self, reason: str) -> None:
        """End without an answer."""
        self.error, self.done = PromptEngineError(reason), True

    def take(self, token: int) -> None:
        """The next token of the answer."""
        if time.monotonic() > self.question.deadline:
            seconds = round(self.question.deadline - self._started, 2)
            self.fail(f"no whole answer within {max(seconds, 0):g} s")
            return
        if token in self._ends:
            self._give(len(self._text))
            self.done = True
            return
        self._tokens.append(token)
        self._text = self._tokenizer.decode(self._tokens, skip_special_tokens=True)
        found = [place for place in (self._text.find(text) for text in self._stop) if place >= 0]
        if found:
            self._text = self._text[: min(found)]
            self._give(len(self._text))
            self.done = True
        elif len(self._tokens) >= self.question.max_tokens:
            self._give(len(self._text), cut=True)
            self.done = True
        else:
            whole = len(self._text.rstrip("\ufffd"))  # the beginning of a character is one of these
            self._give(min(whole, len(self._text) - self._held))

    def answer(self) -> Answer | PromptEngineError:
        """The whole answer, or why there is none."""
        return self.error or Answer(text=self._text, cut=len(self._tokens) >= self.question.max_tokens)

    def _give(self, end: int, *, cut: bool = False) -> None:
        if end > self._given or cut:
            self.done = self._put(Piece(text=self._text[self._given : end], cut=cut)) or self.done
            self._given = max(end, self._given)
