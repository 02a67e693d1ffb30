"""POST /v1/chat/completions: OpenAI's chat API on top of the prompt model."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from ..errors import ApiError
from ..keys import needs
from ..prompts.line import Turn
from ..prompts.prompting import Prompting
from ..prompts.reply import Reply
from .feed import Feed, TurnStream
from .openai_chat_bodies import ChatCompletion
from .openai_chat_questions import question_of
from .openai_shape import OpenAIError, OpenAIRoute, error_body
from .prompting import made_in, prompting_of, refusing

router = APIRouter(
    prefix="/v1/chat",
    tags=["openai"],
    route_class=OpenAIRoute,
    responses={"4XX": {"model": OpenAIError}, "5XX": {"model": OpenAIError}},
    dependencies=[Depends(needs("jobs"))],
)


@router.post(
    "/completions",
    response_class=JSONResponse,
    responses={200: {"content": {"application/json": {}, "text/event-stream": {}}}},
)
async def complete_chat(request: Request, body: Annotated[ChatCompletion, Body()]) -> Response:
    """An answer of the prompt model, whole or with `stream` as it is written. A client that leaves stops the model."""
    prompting = prompting_of(request)
    question = question_of(prompting, body)
    shown = _shown(prompting, body.model)
    if body.stream:
        texts = Feed[str]()
        reply = Reply(body.stops, texts.put)
        turn = prompting.answer(question, reply)
        has_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return TurnStream(turn, _chunks(turn, texts, reply, shown, has_usage=has_usage))
    reply = Reply(body.stops)
    await made_in(request, prompting.answer(question, reply))
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}
    return JSONResponse({**shown, "object": "chat.completion", "choices": [choice]})


def _shown(prompting: Prompting, model: str) -> dict[str, Any]:
    """What all answers and chunks have; tokens are not counted, so there is no usage."""
    identity = hashlib.sha256(prompting.engine.identity.encode()).hexdigest()[:16]
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": f"fp_{identity}",
    }


async def _chunks(
    turn: Turn[None], texts: Feed[str], reply: Reply, shown: dict[str, Any], *, has_usage: bool
) -> AsyncIterator[bytes]:
    head = {**shown, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _sse({**head, "choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    async for text in texts.until_done(turn):
        yield KEEPALIVE_COMMENT if text is None else chunk({"content": text})
    try:
        with refusing():
            turn.future.result()
    except ApiError as error:
        yield _sse(error_body(error))
        return
    yield chunk({}, reply.finish_reason)
    if has_usage:
        yield _sse({**head, "choices": [], "usage": None})
    yield format_sse_event(data_str="[DONE]")


def _sse(data: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(data, allow_nan=False))
