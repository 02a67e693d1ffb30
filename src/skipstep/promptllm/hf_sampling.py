"""Draws each row's next token by the row's own numbers, so that a row does not depend on its neighbours."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from ..errors import MissingExtraError, PromptEngineError
from .engine import Question
from .hf_row import Row

PENALISED = 64  # tokens that a repetition is looked for in; llama.cpp's number


class RowSampler(LogitsProcessor):
    """Scores (rows, vocabulary) whose largest is the token that is drawn.

    A draw is the largest of log-probabilities with Gumbel noise of the row's seed, made on the CPU, so that it is the
    same on all devices. `grammars` has a matcher for each row whose question has a schema.
    """

    def __init__(self, rows: Sequence[Row], grammars: Sequence[Any]) -> None:
        self._rows = rows
        self._grammars = grammars
        self._noise = [torch.Generator().manual_seed(row.question.seed) for row in rows]
        self._warpers = [_warpers(row.question) for row in rows]
        self._drawn = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`input_ids` (rows, tokens) are padded on the left."""
        scores = scores.float()
        for number, row in enumerate(self._rows):
            if row.done:
                continue
            own = input_ids[number : number + 1, -(row.own + self._drawn) :]
            scores[number] = self._drawn_scores(number, own, scores[number : number + 1])[0]
        self._drawn += 1
        return scores

    def _drawn_scores(self, number: int, own: Tensor, scores: Tensor) -> Tensor:
        if self._grammars[number] is not None:
            scores = _allowed(self._grammars[number], scores, own[0, -1] if self._drawn else None)
        scores = self._warpers[number](own[:, -PENALISED:], scores)
        if self._rows[number].question.temperature > 0:
            noise = torch.empty(scores.shape).exponential_(generator=self._noise[number]).log_()
            scores = scores - noise.to(scores.device)
        return scores


class RowEnds(StoppingCriteria):
    """Hands each row its new token, and says which rows have ended."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """A bool for each row."""
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            if not row.done:
                row.take(token)
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)


class Grammars:
    """JSON schemas as llguidance follows them, token by token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: Any = None

    def matcher(self, question: Question) -> Any:
        """A matcher for the question's schema; None where it has none.

        Raises:
            MissingExtraError: without llguidance.
            PromptEngineError: for a schema that it cannot follow.
        """
        if question.schema is None:
            return None
        try:
            import llguidance.hf
        except ImportError as error:
            raise MissingExtraError("answers by a schema need llguidance: pip install 'skipstep[prompt]'") from error
        if self._tokens is None:
            self._tokens = llguidance.hf.from_tokenizer(self._tokenizer)
        matcher = llguidance.LLMatcher(
            self._tokens, llguidance.LLMatcher.grammar_from_json_schema(json.dumps(question.schema))
        )
        if matcher.get_error():
            raise PromptEngineError(f"the schema cannot be followed: {matcher.get_error()}")
        return matcher


def _warpers(question: Question) -> Any:
    chosen: list[Any] = []
    if question.repeat_penalty != 1:
        chosen.append(RepetitionPenaltyLogitsProcessor(question.repeat_penalty))
    if question.temperature > 0:
        chosen.append(TemperatureLogitsWarper(question.temperature))
        if question.top_p < 1:
            chosen.append(TopPLogitsWarper(question.top_p))
    return LogitsProcessorList(chosen)


def _allowed(matcher: Any, scores: Tensor, last: Tensor | None) -> Tensor:
    """Scores with what the grammar forbids at minus infinity, once it has seen the last token."""
    if last is not None:
        matcher.consume_token(int(last))
    bits = numpy.unpackbits(numpy.frombuffer(matcher.compute_bitmask(), numpy.uint8), bitorder="little")
    allowed = torch.zeros(scores.shape[-1], dtype=torch.bool)
    known = min(len(bits), len(allowed))
    allowed[:known] = torch.from_numpy(bits[:known]).bool()
    return scores.masked_fill(~allowed.to(scores.device), -math.inf)
