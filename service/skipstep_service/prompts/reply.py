"""The answer to a chat while it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from skipstep.promptllm import Piece


def nobody(*_: Any) -> None:
    """Takes what nobody wants to know."""


class Reply:
    """An answer up to the first of its stop texts, none of which is part of it; `on_text` is told what is sure."""

    def __init__(self, stops: Sequence[str] = (), on_text: Callable[[str], None] = nobody) -> None:
        self.text = ""
        self.is_cut = False
        self._stops = stops
        self._on_text = on_text
        self._unsure = ""  # its end may be the beginning of a stop text

    @property
    def finish_reason(self) -> str:
        """In OpenAI's words."""
        return "length" if self.is_cut else "stop"

    def take(self, piece: Piece) -> bool:
        """Add a piece; whether that is enough, because a stop text has come."""
        self._unsure += piece.text
        self.is_cut = piece.cut
        found = [place for stop in self._stops if (place := self._unsure.find(stop)) >= 0]
        if found:
            self.is_cut = False
            self._say(min(found))
            self._unsure = ""
            return True
        self._say(len(self._unsure) - max((_overlap(self._unsure, stop) for stop in self._stops), default=0))
        return False

    def end(self) -> None:
        """There are no more pieces."""
        self._say(len(self._unsure))

    def _say(self, count: int) -> None:
        text, self._unsure = self._unsure[:count], self._unsure[count:]
        self.text += text
        if text:
            self._on_text(text)


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of the text with which the stop text begins."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)
