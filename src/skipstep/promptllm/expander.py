"""Prompts, expanded: ask an engine, keep what is usable of its answer, and fall back to the prompt."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

from ..errors import PromptEngineError
from .answer import SCHEMA, joined, negative_phrases, phrases, schema_answer, without_cut_phrase
from .clip_tokens import ClipTokens
from .engine import Engine, Message, Question
from .kept import ExpansionFolder
from .request import CLIP_TOKENS, ExpandRequest, Expansion
from .special_tokens import without_special_tokens

REWRITE = "Reply with one rewritten prompt that keeps the subject."
JSON_TEXT = "Reply in JSON: prompt has the details, negative_prompt what must not be seen."


class PromptExpander:
    """Expands prompts with one engine; with a folder, an answer is kept and given again."""

    def __init__(self, engine: Engine, *, tokens: ClipTokens, kept: ExpansionFolder | None = None) -> None:
        self.engine = engine
        self._tokens = tokens
        self._kept = kept

    def expand(self, request: ExpandRequest, on_text: Callable[[str], None] | None = None) -> Expansion:
        """The expanded prompt; the one asked for, with a reason, where the engine gives nothing usable.

        `on_text` is called with the model's own words as they come. The answer is there within `request.timeout_s`
        and the milliseconds of counting.
        """
        started = time.monotonic()
        own = self._tokens.count(request.prompt)
        if request.keep and own > request.max_clip_tokens:
            reason = f"the prompt alone has {own} CLIP tokens of {request.max_clip_tokens}; nothing was added"
            return self._unchanged(request, reason, started)
        found = self._kept.get(request, self.engine) if self._kept else None
        if found is not None:
            return found
        try:
            answer = self._answer(request, started + request.timeout_s, on_text)
            made = self._made(request, answer, started)
        except PromptEngineError as error:
            return self._unchanged(request, str(error), started)
        if self._kept:
            self._kept.put(request, self.engine, made)
        return made

    def close(self) -> None:
        """Give the engine's memory back; the next prompt loads it again."""
        self.engine.close()

    def _answer(self, request: ExpandRequest, deadline: float, on_text: Callable[[str], None] | None) -> str:
        written, cut = [], False
        for piece in self.engine.generate(question(request, self.engine.special_tokens, deadline)):
            written.append(piece.text)
            cut = piece.cut
            if on_text is not None:
                on_text(piece.text)
        answer = "".join(written)
        return without_cut_phrase(answer) if cut and not request.schema else answer

    def _made(self, request: ExpandRequest, answer: str, started: float) -> Expansion:
        special = self.engine.special_tokens
        negative = request.preset.negative
        if request.schema:
            answer, own_negative = schema_answer(answer)
            negative = joined("", negative_phrases(own_negative, prompt=request.prompt, special=special)) or negative
        found = phrases(answer, prompt=request.prompt if request.keep else "", special=special)
        if not found:
            raise PromptEngineError("the model added nothing")
        prompt = request.prompt if request.keep else ""
        added = self._tokens.fitting(prompt, found, request.max_clip_tokens)
        if not added:
            raise PromptEngineError(f"nothing that the model added fits into {request.max_clip_tokens} CLIP tokens")
        return self._expansion(
            request, started, prompt=joined(prompt, added), added=", ".join(added), negative=self._short(negative)
        )

    def _short(self, negative: str) -> str:
        if self._tokens.count(negative) <= CLIP_TOKENS:
            return negative
        return ", ".join(self._tokens.fitting("", phrases(negative, prompt=""), CLIP_TOKENS))

    def _unchanged(self, request: ExpandRequest, reason: str, started: float) -> Expansion:
        negative = self._short(request.preset.negative)
        return self._expansion(request, started, prompt=request.prompt, added="", negative=negative, reason=reason)

    def _expansion(
        self,
        request: ExpandRequest,
        started: float,
        *,
        prompt: str,
        added: str,
        negative: str,
        reason: str | None = None,
    ) -> Expansion:
        return Expansion(
            prompt=prompt,
            added=added,
            negative=negative,
            clip_tokens=self._tokens.count(prompt),
            seed=request.seed,
            engine=self.engine.name,
            model=self.engine.model,
            preset=request.preset.name,
            seconds=time.monotonic() - started,
            reason=reason,
        )


def question(request: ExpandRequest, special: frozenset[str], deadline: float) -> Question:
    """What to ask: the preset's text, its examples, and the prompt as data."""
    preset = request.preset
    return Question(
        messages=tuple(_messages(request, special)),
        seed=request.seed,
        max_tokens=request.max_tokens or preset.max_tokens * (3 if request.schema else 1),
        temperature=preset.temperature if request.temperature is None else request.temperature,
        top_p=preset.top_p,
        repeat_penalty=preset.repeat_penalty,
        deadline=deadline,
        schema=SCHEMA if request.schema else None,
        words=preset.words,
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
