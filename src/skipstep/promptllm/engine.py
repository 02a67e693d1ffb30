"""What a language model is asked for, and how its answer comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import PromptEngineError

if TYPE_CHECKING:
    from ..adapters import AdapterInfo, BaseModel
    from .adapter_use import Stacked


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a chat; the text is data, free of control tokens."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an engine is asked: a chat to continue, and how to draw the tokens.

    `schema` is a JSON schema that the answer must follow. `words` are lists of a preset, from which an engine without
    a model picks. `adapters` are on the model while it answers, and add up. `deadline` is in seconds of
    `time.monotonic`.
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
    adapters: tuple[Stacked, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A piece of an answer; `cut` on the last one says that the model had more to say and was stopped."""

    text: str
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer; `cut` says that the model had more to say."""

    text: str
    cut: bool = False


class Engine(ABC):
    """A language model.

    `identity` names everything that an answer depends on besides the question: the engine, the model's file and the
    library's version. `special_tokens` are the texts that the model reads as control tokens. `base` is the model as
    adapters see it, None where there can be none; `families` are those of adapters that it can answer with. `batch` is
    how many questions it answers at once.
    """

    name: str
    model: str
    identity: str
    special_tokens: frozenset[str] = frozenset()
    base: BaseModel | None = None
    families: frozenset[str] = frozenset()
    batch: int = 1

    @property
    def loaded_bytes(self) -> int:
        """What the model takes in memory now; 0 while it is not loaded."""
        return 0

    @abstractmethod
    def generate(self, question: Question) -> Iterator[Piece]:
        """The answer as it is written.

        Raises:
            PromptEngineError: if there is none, or the deadline passes first.
            AdapterError: if an adapter cannot be loaded, or not be stacked with the others.
        """

    def generate_all(self, questions: Sequence[Question]) -> list[Answer | PromptEngineError]:
        """A whole answer to each question, or why there is none: one after the other, or as an engine does better.

        Raises:
            AdapterError: as `generate`.
        """
        return [_whole_answer(self, question) for question in questions]

    def forget(self, adapter: AdapterInfo) -> None:
        """Give an adapter's memory back, if it is loaded."""
        return

    def close(self) -> None:
        """Give the model's memory back; the next question loads it again."""
        return


def _whole_answer(engine: Engine, question: Question) -> Answer | PromptEngineError:
    try:
        pieces = list(engine.generate(question))
    except PromptEngineError as error:
        return error
    return Answer(text="".join(piece.text for piece in pieces), cut=any(piece.cut for piece in pieces))
