"""Chats for training, written as the engines ask them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..adapters.training import ChatWriter, Passage, Turn
from ..errors import OptionError
from .chat import ChatTemplate, template, template_for
from .engine import Message
from .special_tokens import without_special_tokens


def training_chats(name: str = "auto") -> Callable[[Any], ChatWriter]:
    """Gives, for a tokenizer, what writes chats with a template of `skipstep.promptllm.chat`.

    "auto" is the one that the tokenizer's own looks like; that one is never run. Control tokens are taken out of the
    texts.

    Raises:
        OptionError: for an unknown template; when writing, for chats that the template has no form for.
    """
    if name != "auto":
        template(name)

    def writer_for(tokenizer: Any) -> ChatWriter:
        chosen = template_for(str(tokenizer.chat_template or "")) if name == "auto" else name
        special = frozenset({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()})
        write = _written_raw if chosen == "raw" else _written
        return lambda turns: write(template(chosen), _messages(turns, special))

    return writer_for


def _messages(turns: Sequence[Turn], special: frozenset[str]) -> list[Message]:
    return [Message(role=turn.role, text=without_special_tokens(turn.text, special)) for turn in turns]


def _written(chat: ChatTemplate, messages: Sequence[Message]) -> list[Passage]:
    """What the model is asked before each answer, and the answer up to the end that the template marks."""
    passages: list[Passage] = []
    written = ""
    for i, message in enumerate(messages):
        if message.role != "assistant":
            continue
        asked = chat.render(messages[:i])
        answered = chat.render(messages[: i + 1])
        if not (asked.startswith(written) and answered.startswith(asked)):
            raise OptionError("this chat template does not write a chat piece by piece; use chatml, ultralm or llama2")
        end = answered.index(chat.stop[0], len(asked)) + len(chat.stop[0])
        passages.append(Passage(text=asked[len(written) :], learned=False))
        passages.append(Passage(text=answered[len(asked) : end], learned=True))
        written = answered[:end]
    return passages


def _written_raw(chat: ChatTemplate, messages: Sequence[Message]) -> list[Passage]:
    if [message.role for message in messages] != ["user", "assistant"]:
        raise OptionError(
            "the template raw is for a prompt and its completion; use chatml, ultralm or llama2 for chats"
        )
    prompt, completion = messages
    return [
        Passage(text=chat.render([prompt]), learned=False),
        Passage(text=completion.text + chat.stop[0], learned=True),
    ]
