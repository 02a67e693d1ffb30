"""Turns of a chat, read strictly."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, cast

from ...errors import TrainingDataError

Role = Literal["system", "user", "assistant"]
MAX_TURNS = 256


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one side of a chat says; the text is data, whatever it looks like."""

    role: Role
    text: str


def turns_of(value: Any, where: str, *, opening: Collection[str] = ("system", "user")) -> tuple[Turn, ...]:
    """A list of {"role", "content"}: perhaps a system text, then user and assistant in turns.

    Raises:
        TrainingDataError: names the turn.
    """
    turns = tuple(_turn(entry, f"{where}[{i}]") for i, entry in enumerate(_listed(value, where)))
    for i, turn in enumerate(turns):
        before = turns[i - 1].role if i else None
        allowed = opening if before is None else ("assistant",) if before == "user" else ("user",)
        if turn.role not in allowed:
            raise TrainingDataError(f"{where}[{i}]: role must be {' or '.join(allowed)} there, got {turn.role}")
    return turns


def alternating(value: Any, where: str) -> tuple[Turn, ...]:
    """UltraChat's list of texts (Ding et al. 2023, arXiv:2305.14233): user and assistant in turns.

    Raises:
        TrainingDataError: names the text.
    """
    roles: tuple[Role, Role] = ("user", "assistant")
    return tuple(
        Turn(role=roles[i % 2], text=text_of(text, f"{where}[{i}]")) for i, text in enumerate(_listed(value, where))
    )


def text_of(value: Any, where: str) -> str:
    """A text that says something and can be written as UTF-8.

    Raises:
        TrainingDataError: if it is not one.
    """
    if not isinstance(value, str) or not value.strip():
        raise TrainingDataError(f"{where} must be text, got {repr(value)[:60]}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TrainingDataError(
            f"{where} has half a surrogate pair at {error.start}; write whole characters"
        ) from error
    return value


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TURNS:
        raise TrainingDataError(f"{where} must be a list of 1..{MAX_TURNS} turns, got {repr(value)[:60]}")
    return value


def _turn(entry: Any, where: str) -> Turn:
    if not isinstance(entry, dict):
        raise TrainingDataError(f"{where} must be an object with role and content, got {repr(entry)[:60]}")
    role = entry.get("role")
    if role not in ("system", "user", "assistant"):
        raise TrainingDataError(f"{where}: role must be system, user or assistant, got {repr(role)[:60]}")
    return Turn(role=cast(Role, role), text=text_of(entry.get("content"), f"{where}: content"))
