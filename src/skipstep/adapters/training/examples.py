"""Chats as tokens, and which of them are learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...errors import TrainingDataError
from ..loop import UNLABELLED, Batch
from .records import Conversation, Preference
from .turns import Turn


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of a chat as the model reads it, with control tokens; `learned` is the assistant's text and its end."""

    text: str
    learned: bool


class ChatWriter(Protocol):
    """Writes a chat as a model reads it; control tokens in the turns' texts are not among its own."""

    def __call__(self, turns: Sequence[Turn]) -> Sequence[Passage]: ...


@dataclass(frozen=True, kw_only=True)
class Example:
    """Tokens of one chat; labels are the same, or `UNLABELLED` where nothing is learned. `cut` says that it went on."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Tokens of a prompt and of its better and its worse answer. `cut` says that one of these went on."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    cut: bool = False


def example_of(record: Conversation, write: ChatWriter, tokenizer: Any, *, max_tokens: int) -> Example:
    """The first `max_tokens` tokens of a chat.

    Raises:
        TrainingDataError: if nothing is learned among them.
    """
    shown = sum(turn.role == "assistant" for turn in record.turns[: record.given])
    ids: list[int] = []
    labels: list[int] = []
    for i, passage in enumerate(write(record.turns)):
        piece = _tokens(tokenizer, passage.text, first=i == 0)
        learned = passage.learned and shown <= 0
        shown -= passage.learned
        ids += piece
        labels += piece if learned else [UNLABELLED] * len(piece)
    if all(label == UNLABELLED for label in labels[:max_tokens]):
        raise TrainingDataError(
            f"{record.where}: no answer begins within {max_tokens} tokens; shorten the chat, or allow more tokens"
        )
    return Example(ids=tuple(ids[:max_tokens]), labels=tuple(labels[:max_tokens]), cut=len(ids) > max_tokens)


def pair_of(record: Preference, write: ChatWriter, tokenizer: Any, *, max_tokens: int) -> Pair:
    """Answers are cut so that prompt and answer together have `max_tokens` tokens.

    Raises:
        TrainingDataError: if the prompt alone has as many, or the answers are the same up to there.
    """
    prompt: list[int] = []
    answers = []
    for answer in (record.chosen, record.rejected):
        *before, learned = write((*record.prompt, Turn(role="assistant", text=answer)))
        pieces = [_tokens(tokenizer, passage.text, first=i == 0) for i, passage in enumerate(before)]
        prompt = [token for piece in pieces for token in piece]
        answers.append(_tokens(tokenizer, learned.text, first=False))
    room = max(max_tokens - len(prompt), 0)
    chosen, rejected = (answer[:room] for answer in answers)
    if chosen == rejected:
        raise TrainingDataError(
            f"{record.where}: its answers do not differ within {max_tokens} tokens; shorten the prompt, or allow more"
        )
    cut = any(len(answer) > room for answer in answers)
    return Pair(prompt=tuple(prompt), chosen=tuple(chosen), rejected=tuple(rejected), cut=cut)


def padded(examples: Sequence[Example], *, pad: int) -> Batch:
    """A batch whose rows are filled up at their ends, (examples, longest)."""
    longest = max(len(example.ids) for example in examples)

    def rows(values: Callable[[Example], Sequence[int]], fill: int) -> torch.Tensor:
        return torch.tensor([[*values(example), *[fill] * (longest - len(example.ids))] for example in examples])

    return {
        "input_ids": rows(lambda example: example.ids, pad),
        "labels": rows(lambda example: example.labels, UNLABELLED),
        "attention_mask": rows(lambda example: [1] * len(example.ids), 0),
    }


def in_order(examples: Sequence[Example], *, size: int, pad: int) -> Iterator[Batch]:
    """Each example once; the last batch may be smaller."""
    for start in range(0, len(examples), size):
        yield padded(examples[start : start + size], pad=pad)


def endless(examples: Sequence[Example], *, size: int, pad: int, seed: int) -> Iterator[Batch]:
    """Batches in an order of the seed, which is another one each time the examples were all used."""
    generator = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += torch.randperm(len(examples), generator=generator).tolist()
        yield padded([examples[i] for i in waiting[:size]], pad=pad)
        del waiting[:size]


def _tokens(tokenizer: Any, text: str, *, first: bool) -> list[int]:
    """The tokens of a piece; the first one begins as the tokenizer begins all texts."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    begin = tokenizer.bos_token_id
    if first and begin is not None and ids[:1] != [begin] and tokenizer("a")["input_ids"][:1] == [begin]:
        return [begin, *ids]
    return ids
