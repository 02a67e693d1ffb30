"""An expansion as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from skipstep.promptllm import ExpandRequest, Expansion

from ..errors import ApiError, PromptFailedError
from ..handlers import body_of
from ..jobs.expansion import told, unchanged
from ..prompts.line import Turn
from .feed import Feed, TurnStream
from .prompting import refusing


class ExpansionStream(TurnStream):
    """Events `text`, `expansion` and `done`; `error` in place of the last two where the request was wrong."""

    def __init__(self, turn: Turn[Expansion], texts: Feed[str], asked: ExpandRequest, fields: dict[str, Any]) -> None:
        super().__init__(turn, _events(turn, texts, asked, fields))


async def _events(
    turn: Turn[Expansion], texts: Feed[str], asked: ExpandRequest, fields: dict[str, Any]
) -> AsyncIterator[bytes]:
    async for text in texts.until_done(turn):
        yield KEEPALIVE_COMMENT if text is None else _sse("text", {"text": text})
    try:
        with refusing():
            made = told(asked.prompt, turn.future.result())
    except PromptFailedError as error:
        made = given_back(asked, fields, error.message)
    except ApiError as error:
        yield _sse("error", body_of(error))
        return
    yield _sse("expansion", made)
    yield _sse("done", {})


def given_back(asked: ExpandRequest, fields: dict[str, Any], reason: str) -> dict[str, Any]:
    """The prompt as it was, where the model gave nothing at all."""
    return unchanged({"prompt": asked.prompt, "seed": asked.seed, "expand": fields}, reason)


def _sse(kind: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=kind, data_str=json.dumps(data, allow_nan=False))
