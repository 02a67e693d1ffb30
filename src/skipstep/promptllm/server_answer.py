"""An HTTP answer of a chat completion, as server-sent events or as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import PromptEngineError
from .engine import Piece

MAX_BYTES = 2**20
EVENTS, DOCUMENT = "text/event-stream", "application/json"


class ServerAnswer:
    """Takes an answer's bytes as they come, and gives its text; `ended` is True after the last event.

    Raises:
        PromptEngineError: for another status than 200, another kind of content, more than 1 MiB, bytes that are not
            UTF-8, something that is no chat completion, and an answer that stops in its middle.
    """

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        _check_status(status)
        self._kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if self._kind not in (EVENTS, DOCUMENT):
            raise PromptEngineError(
                f"the server answered {self._kind or 'without a content type'}, not a chat completion"
            )
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding != "identity":
            raise PromptEngineError(f"the server answered in {encoding}, which was not asked for")
        self._waiting = b""
        self._bytes = 0
        self._finished = False
        self._spoke = False
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces that are whole with these bytes."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise PromptEngineError(f"the server's answer has more than {MAX_BYTES} bytes")
        self._waiting += data
        if self._kind == DOCUMENT:
            return
        *lines, self._waiting = self._waiting.split(b"\n")
        for line in lines:
            yield from self._event(line.strip())

    def finish(self) -> Iterator[Piece]:
        """What is left when the server has closed the connection."""
        if self._kind == DOCUMENT:
            yield from self._pieces(_parsed(self._waiting), "message")
        else:
            yield from self._event(self._waiting.strip())
        if not self._finished:
            raise PromptEngineError("the server's answer stops in its middle")
        self._check_text()

    def _event(self, line: bytes) -> Iterator[Piece]:
        if self.ended or not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.ended = self._finished = True
            self._check_text()
            return
        yield from self._pieces(_parsed(data), "delta")

    def _pieces(self, data: Any, key: str) -> Iterator[Piece]:
        if not isinstance(data, dict):
            raise PromptEngineError("the server answered JSON that is no chat completion")
        if data.get("error"):
            raise PromptEngineError(f"the server reported an error: {str(data['error'])[:200]}")
        choices = data.get("choices")
        if not isinstance(choices, list):
            raise PromptEngineError("the server answered JSON without choices")
        for choice in choices[:1]:  # the last event of some servers has none, and the usage
            message = choice.get(key) if isinstance(choice, dict) else None
            text = message.get("content") if isinstance(message, dict) else None
            if not isinstance(text, (str, type(None))):
                raise PromptEngineError("the server answered a choice whose content is no text")
            reason = choice.get("finish_reason") if isinstance(choice, dict) else None
            self._finished = self._finished or reason is not None or key == "message"
            self._spoke = self._spoke or bool(text and text.strip())
            yield Piece(text=text or "", cut=reason == "length")

    def _check_text(self) -> None:
        if not self._spoke:
            raise PromptEngineError("the server answered without a text")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise PromptEngineError("the server answered bytes that are not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise PromptEngineError("the server answered something that is not JSON") from error


def _check_status(status: int) -> None:
    if 300 <= status < 400:
        raise PromptEngineError(f"the server redirects ({status}), which is not followed; give the URL it really has")
    if status in (401, 403):
        raise PromptEngineError(f"the server wants another key ({status}); put it into SKIPSTEP_PROMPT_API_KEY")
    if status != 200:
        raise PromptEngineError(f"the server answered with status {status}")
