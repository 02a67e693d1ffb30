"""Chats as the text that a model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import OptionError
from .engine import Message


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """A way to write a chat that ends where the assistant goes on, and the texts at which its answer ends."""

    render: Callable[[Sequence[Message]], str]
    stop: tuple[str, ...]


def template(name: str) -> ChatTemplate:
    """The template of this name: chatml, ultralm, llama2 or raw.

    Raises:
        OptionError: if there is none.
    """
    if name not in TEMPLATES:
        raise OptionError(f"the chat template must be one of {', '.join(TEMPLATES)}, got {name!r}")
    return TEMPLATES[name]


def template_for(source: str) -> str:
    """The name of the template that a model's own one looks like; raw, for a model that brings none.

    Its own is a program, and is only looked at.
    """
    marks = {"<|im_start|>": "chatml", "[INST]": "llama2", "Assistant: ": "ultralm"}
    found = next((name for mark, name in marks.items() if mark in source), None)
    if found is None:
        return "chatml" if source else "raw"
    return found


def _chatml(messages: Sequence[Message]) -> str:
    """ChatML, of SmolLM2, Qwen and many others."""
    turns = (f"<|im_start|>{message.role}\n{message.text}<|im_end|>\n" for message in messages)
    return "".join(turns) + "<|im_start|>assistant\n"


def _ultralm(messages: Sequence[Message]) -> str:
    """UltraLM's, as UltraChat trains it (Ding et al. 2023, arXiv:2305.14233); a system text is the first user turn."""
    turns = (f"{'Assistant' if m.role == 'assistant' else 'User'}: {m.text.strip()}</s>" for m in messages)
    return "<s>" + "\n".join(turns) + "\nAssistant: "


def _llama2(messages: Sequence[Message]) -> str:
    """Llama 2 Chat's: the system text inside the first user turn."""
    written, system = "", ""
    for message in messages:
        if message.role == "system":
            system = f"<<SYS>>\n{message.text}\n<</SYS>>\n\n"
        elif message.role == "user":
            written += f"<s>[INST] {system}{message.text} [/INST]"
            system = ""
        else:
            written += f" {message.text} </s>"
    return written


def _raw(messages: Sequence[Message]) -> str:
    """The last message alone, for models that continue a prompt."""
    return messages[-1].text


TEMPLATES = {
    "chatml": ChatTemplate(render=_chatml, stop=("<|im_end|>", "<|im_start|>")),
    "ultralm": ChatTemplate(render=_ultralm, stop=("</s>", "\nUser:")),
    "llama2": ChatTemplate(render=_llama2, stop=("</s>", "[INST]")),
    "raw": ChatTemplate(render=_raw, stop=("\n",)),
}
