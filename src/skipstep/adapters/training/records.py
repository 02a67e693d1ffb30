"""Data to train on: JSON Lines of chats, of prompts and completions, or of prompts and a better and a worse answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...errors import AdapterError, TrainingDataError
from ..opening import open_regular
from ..strict_json import parse_object
from .turns import Turn, alternating, text_of, turns_of

MAX_FILE = 2**28
MAX_LINE = 2**20
MAX_RECORDS = 1_000_000
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns that end with the assistant's; what it says is learned but for the first `given` turns."""

    where: str
    turns: tuple[Turn, ...]
    given: int = 0


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Turns that end with the user's, and two answers of which the first is better."""

    where: str
    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str


def read_conversations(path: Path) -> list[Conversation]:
    """Lines of {"messages"}, of UltraChat's {"id", "data"}, or of {"prompt", "completion"}; other fields are ignored.

    All that the assistant says is learned, but for what a prompt that is a chat itself has it say. The completion may
    be a chat, too, that goes on from there.

    Raises:
        TrainingDataError: names file, line and field.
    """
    return list(_records(path, _conversation))


def read_preferences(path: Path) -> list[Preference]:
    """Lines of {"prompt", "chosen", "rejected"}; other fields are ignored.

    Raises:
        TrainingDataError: names file, line and field.
    """
    return list(_records(path, _preference))


def _records(path: Path, read: Callable[[str, Mapping[str, Any]], _Record]) -> Iterator[_Record]:
    number = 0
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path.name} line {number}"
        if number > MAX_RECORDS:
            raise TrainingDataError(f"{path.name}: has more than {MAX_RECORDS} lines; train on a part of it")
        try:
            yield read(where, parse_object(line, where))
        except AdapterError as error:
            raise TrainingDataError(str(error)) from error
    if not number:
        raise TrainingDataError(f"{path.name}: is empty; give a line of JSON for each example")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(Path(os.path.realpath(path))) as (file, size):
            if size > MAX_FILE:
                raise TrainingDataError(f"{path.name}: has {size} bytes; at most {MAX_FILE} are read")
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise TrainingDataError(f"{path.name}: has a line of more than {MAX_LINE} bytes; shorten it")
                yield line
    except AdapterError as error:
        raise TrainingDataError(str(error)) from error


def _conversation(where: str, fields: Mapping[str, Any]) -> Conversation:
    if "messages" in fields:
        turns = turns_of(fields["messages"], f"{where}: messages")
        return Conversation(where=where, turns=_answered(turns, f"{where}: messages"))
    if "data" in fields:
        turns = alternating(fields["data"], f"{where}: data")
        return Conversation(where=where, turns=_answered(turns, f"{where}: data"))
    if "prompt" in fields and "completion" in fields:
        prompt = _prompt(fields["prompt"], where)
        completion = _completion(fields["completion"], f"{where}: completion")
        return Conversation(where=where, turns=(*prompt, *completion), given=len(prompt))
    raise TrainingDataError(f"{where}: must have messages, data, or prompt and completion; it has {_names(fields)}")


def _preference(where: str, fields: Mapping[str, Any]) -> Preference:
    if missing := [name for name in ("prompt", "chosen", "rejected") if name not in fields]:
        raise TrainingDataError(f"{where}: {missing[0]} is missing beside {_names(fields)}")
    prompt = _prompt(fields["prompt"], where)
    chosen, rejected = (_answer(fields[name], prompt, f"{where}: {name}") for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise TrainingDataError(f"{where}: chosen and rejected are the same text; one must be better")
    return Preference(where=where, prompt=prompt, chosen=chosen, rejected=rejected)


def _prompt(value: Any, where: str) -> tuple[Turn, ...]:
    """A text is the user's only turn."""
    if isinstance(value, str):
        return (Turn(role="user", text=text_of(value, f"{where}: prompt")),)
    turns = turns_of(value, f"{where}: prompt")
    if turns[-1].role != "user":
        raise TrainingDataError(f"{where}: prompt must end with a turn of the user, got {turns[-1].role}")
    return turns


def _completion(value: Any, where: str) -> tuple[Turn, ...]:
    if isinstance(value, str):
        return (Turn(role="assistant", text=text_of(value, where)),)
    return _answered(turns_of(value, where, opening=("assistant",)), where)


def _answer(value: Any, prompt: tuple[Turn, ...], where: str) -> str:
    """A text, or a chat whose last turn it is; what comes before that must be the prompt, or nothing."""
    if isinstance(value, str):
        return text_of(value, where)
    turns = turns_of(value, where, opening=("system", "user", "assistant"))
    if turns[-1].role != "assistant" or turns[:-1] not in ((), prompt):
        raise TrainingDataError(f"{where} must be a text, or turns that are the prompt's and one of the assistant")
    return turns[-1].text


def _answered(turns: tuple[Turn, ...], where: str) -> tuple[Turn, ...]:
    """Without a last turn that nobody answers."""
    kept = turns[:-1] if turns[-1].role == "user" else turns
    if not kept or kept[-1].role != "assistant":
        raise TrainingDataError(f"{where} must have an answer of the assistant, which is what is learned")
    return kept


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(name[:40] for name in list(fields)[:8]) or "no fields"
