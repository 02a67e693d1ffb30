"""From a chat as OpenAI has it to a question that an engine answers."""

from __future__ import annotations

import time
from typing import Any

from skipstep.errors import OptionError
from skipstep.promptllm import AdapterUse, Message, Question, Stacked, parsed_use, without_special_tokens
from skipstep.promptllm.request import new_seed

from ..errors import UnknownModelError
from ..prompts.prompting import Prompting
from ..prompts.schemas import check_schema
from .adapting import refused
from .openai_chat_bodies import MAX_CHARACTERS, ChatCompletion

USUAL_TOKENS = 256
_AUTO = "auto"


def question_of(prompting: Prompting, body: ChatCompletion) -> Question:
    """What it asks for, with the server's time from now on.

    Raises:
        InvalidRequestError: if it cannot be honoured.
    """
    if None not in (body.max_tokens, body.max_completion_tokens) and body.max_tokens != body.max_completion_tokens:
        raise refused("max_tokens", "max_tokens and max_completion_tokens differ; give one of them")
    return Question(
        messages=_messages(prompting, body),
        seed=new_seed() if body.seed is None else body.seed,
        max_tokens=body.max_completion_tokens or body.max_tokens or USUAL_TOKENS,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        repeat_penalty=1.0,
        deadline=time.monotonic() + prompting.timeout_s,
        schema=_schema(prompting, body),
        adapters=_adapters(prompting, body.model),
    )


def chat_models(prompting: Prompting) -> list[str]:
    """What chats may name: the model alone, and with one adapter."""
    return [
        prompting.engine.model,
        *(f"{prompting.engine.model}+{one}" for one in prompting.expander.adapters.listed()),
    ]


def _messages(prompting: Prompting, body: ChatCompletion) -> tuple[Message, ...]:
    if sum(len(message.text) for message in body.messages) > MAX_CHARACTERS:
        raise refused("messages", f"messages may have {MAX_CHARACTERS} characters in all")
    special = prompting.engine.special_tokens
    messages = tuple(
        Message(
            role="system" if message.role == "developer" else message.role,
            text=without_special_tokens(message.text, special),
        )
        for message in body.messages
    )
    if messages[-1].role != "user" or not messages[-1].text.strip():
        raise refused("messages", "the last of the messages must be a user's, with a text")
    return messages


def _adapters(prompting: Prompting, name: str) -> tuple[Stacked, ...]:
    """Those behind the model's name, as NAME+photo@0.7+other."""
    known = sorted((prompting.engine.model, prompting.engine.name, _AUTO), key=len, reverse=True)
    base = next((one for one in known if name == one or name.startswith(f"{one}+")), None)
    if base is None:
        raise UnknownModelError(
            f"this server does not have that model; its model for chats is {prompting.engine.model}",
            details={"param": "model"},
        )
    try:
        pairs = [parsed_use(one) for one in name[len(base) + 1 :].split("+")] if name != base else []
        return prompting.expander.adapters.stack([AdapterUse(name=one, scale=scale) for one, scale in pairs])
    except OptionError as error:
        raise refused("model", str(error)) from error


def _schema(prompting: Prompting, body: ChatCompletion) -> dict[str, Any] | None:
    asked = body.response_format
    if asked is None or asked.type == "text":
        return None
    if prompting.engine.name == "echo":
        raise refused("response_format", "the engine echo follows no schema; leave response_format out")
    if asked.type == "json_object":
        return {"type": "object"}
    if asked.json_schema is None:
        raise refused("response_format", "response_format json_schema needs a json_schema")
    try:
        check_schema(asked.json_schema.json_schema)
    except ValueError as error:
        raise refused("response_format", str(error)) from error
    return asked.json_schema.json_schema
