"""What a request asks an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from .adapter_use import AdapterUse, Stacked
from .answer import SCHEMA, joined
from .engine import Message, Question
from .request import ExpandRequest
from .special_tokens import without_special_tokens

REWRITE = "Reply with one rewritten prompt that keeps the subject."
JSON_TEXT = "Reply in JSON: prompt has the details, negative_prompt what must not be seen."


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request with its adapters, named and found; `started` is in seconds of `time.monotonic`."""

    request: ExpandRequest
    uses: tuple[AdapterUse, ...] = ()
    adapters: tuple[Stacked, ...] = ()
    started: float


def question(asked: Asked, special: frozenset[str]) -> Question:
    """The preset's text, its examples, and the prompt as data."""
    request = asked.request
    preset = request.preset
    return Question(
        messages=tuple(_messages(request, special)),
        seed=request.seed,
        max_tokens=request.max_tokens or preset.max_tokens * (3 if request.schema else 1),
        temperature=preset.temperature if request.temperature is None else request.temperature,
        top_p=preset.top_p,
        repeat_penalty=preset.repeat_penalty,
        deadline=asked.started + request.timeout_s,
        schema=SCHEMA if request.schema else None,
        words=preset.words,
        adapters=asked.adapters,
    )


def _messages(request: ExpandRequest, special: frozenset[str]) -> Sequence[Message]:
    preset = request.preset
    told = [preset.system, *([] if request.keep else [REWRITE]), *([JSON_TEXT] if request.schema else [])]
    messages = [Message(role="system", text=" ".join(told))]
    for example in preset.examples:
        shown = example.added if request.keep else joined(example.prompt, [example.added])
        if request.schema:
            shown = json.dumps({"prompt": shown, "negative_prompt": preset.negative}, ensure_ascii=False)
        messages.append(Message(role="user", text=example.prompt))
        messages.append(Message(role="assistant", text=shown))
    data = " ".join(without_special_tokens(request.prompt, special).split())
    return [*messages, Message(role="user", text=data)]
