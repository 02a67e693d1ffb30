"""What a language model is asked for, and how its answer comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a chat; the text is data, free of control tokens."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an engine is asked: a chat to continue, and how to draw the tokens.

    `schema` is a JSON schema that the answer must follow. `words` are lists of a preset, from which an engine without
    a model picks. `deadline` is in seconds of `time.monotonic`.
    """

    messages: tuple[Message, ...]
    seed: int
    max_tokens: int
    temperature: float
    top_p: float
    repeat_penalty: float
    deadline: float
    schema: Mapping[str, Any] | None = None
    words: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of an answer; `cut` on the last one says that the model had more to say and was stopped."""

    text: str
    cut: bool = False


class Engine(Protocol):
    """A language model.

    `identity` names everything that an answer depends on besides the question: the engine, the model's file and the
    library's version. `special_tokens` are the texts that the model reads as control tokens.
    """

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def special_tokens(self) -> frozenset[str]: ...

    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer as it is written.

        Raises:
            PromptEngineError: if there is none, or the deadline passes first.
        """

    def close(self) -> None:
        """Give the model's memory back; the next question loads it again."""
