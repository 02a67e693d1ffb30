"""Prompts, expanded: ask an engine, keep what is usable of its answer, and fall back to the prompt."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import PromptEngineError
from .adapter_use import AdapterUse
from .answer import joined, negative_phrases, phrases, schema_answer, without_cut_phrase
from .asked import Asked, question
from .clip_tokens import ClipTokens
from .engine import Answer, Engine
from .kept import ExpansionFolder
from .request import CLIP_TOKENS, ExpandRequest, Expansion
from .shelf import AdapterShelf


class PromptExpander:
    """Expands prompts with one engine; with a folder, an answer is kept and given again.

    `adapters` of the class are those that requests may name; they must lie in the folder that is given, if one is.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        tokens: ClipTokens,
        kept: ExpansionFolder | None = None,
        adapters: Path | None = None,
    ) -> None:
        self.engine = engine
        self.adapters = AdapterShelf(engine, root=adapters)
        self._tokens = tokens
        self._kept = kept

    def expand(self, request: ExpandRequest, on_text: Callable[[str], None] | None = None) -> Expansion:
        """The expanded prompt; the one asked for, with a reason, where the engine gives nothing usable.

        `on_text` is called with the model's own words as they come. The answer is there within `request.timeout_s`
        and the milliseconds of counting.

        Raises:
            OptionError: if an adapter is unknown.
            AdapterError: if one cannot be loaded any more, or not be stacked with the others.
        """
        asked = self._asked(request)
        found = self._known(asked)
        if found is not None:
            return found
        try:
            answer = self._answer(asked, on_text)
        except PromptEngineError as error:
            return self._unchanged(asked, str(error))
        return self._made_of(asked, answer)

    def expand_all(self, requests: Sequence[ExpandRequest]) -> list[Expansion]:
        """All expanded, at once where the engine can; each as it would be alone, with a timeout of its own.

        Raises:
            OptionError, AdapterError: as `expand`, before any is answered.
        """
        for request in requests:
            self.adapters.stack(self._uses(request))
        size = self.engine.batch
        parts = (requests[start : start + size] for start in range(0, len(requests), size))
        return [made for part in parts for made in self._batch(part)]

    def close(self) -> None:
        """Give the engine's memory back; the next prompt loads it again."""
        self.engine.close()

    def _batch(self, requests: Sequence[ExpandRequest]) -> list[Expansion]:
        asked = [self._asked(request) for request in requests]
        made = [self._known(one) for one in asked]
        special = self.engine.special_tokens
        open_places = [place for place, found in enumerate(made) if found is None]
        answers = self.engine.generate_all([question(asked[place], special) for place in open_places])
        for place, answer in zip(open_places, answers, strict=True):
            one = asked[place]
            if isinstance(answer, PromptEngineError):
                made[place] = self._unchanged(one, str(answer))
            else:
                made[place] = self._made_of(one, _whole(one.request, answer))
        return [found for found in made if found is not None]

    def _asked(self, request: ExpandRequest) -> Asked:
        uses = self._uses(request)
        return Asked(request=request, uses=uses, adapters=self.adapters.stack(uses), started=time.monotonic())

    def _uses(self, request: ExpandRequest) -> tuple[AdapterUse, ...]:
        if request.adapters is not None:
            return request.adapters
        return self.adapters.usual() if request.keep and not request.schema else ()

    def _known(self, asked: Asked) -> Expansion | None:
        """What needs no model: a prompt that is too long already, or an answer that was kept."""
        request = asked.request
        own = self._tokens.count(request.prompt)
        if request.keep and own > request.max_clip_tokens:
            reason = f"the prompt alone has {own} CLIP tokens of {request.max_clip_tokens}; nothing was added"
            return self._unchanged(asked, reason)
        return self._kept.get(request, self._identity(asked)) if self._kept else None

    def _identity(self, asked: Asked) -> str:
        return " ".join([self.engine.identity, *(stacked.identity for stacked in asked.adapters)])

    def _answer(self, asked: Asked, on_text: Callable[[str], None] | None) -> str:
        written, cut = [], False
        for piece in self.engine.generate(question(asked, self.engine.special_tokens)):
            written.append(piece.text)
            cut = piece.cut
            if on_text is not None:
                on_text(piece.text)
        return _whole(asked.request, Answer(text="".join(written), cut=cut))

    def _made_of(self, asked: Asked, answer: str) -> Expansion:
        try:
            made = self._made(asked, answer)
        except PromptEngineError as error:
            return self._unchanged(asked, str(error))
        if self._kept:
            self._kept.put(asked.request, self._identity(asked), made)
        return made

    def _made(self, asked: Asked, answer: str) -> Expansion:
        request, special = asked.request, self.engine.special_tokens
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
        return self._expansion(asked, prompt=joined(prompt, added), added=", ".join(added), negative=negative)

    def _unchanged(self, asked: Asked, reason: str) -> Expansion:
        negative = asked.request.preset.negative
        return self._expansion(asked, prompt=asked.request.prompt, added="", negative=negative, reason=reason)

    def _expansion(
        self, asked: Asked, *, prompt: str, added: str, negative: str, reason: str | None = None
    ) -> Expansion:
        request = asked.request
        return Expansion(
            prompt=prompt,
            added=added,
            negative=self._short(negative),
            clip_tokens=self._tokens.count(prompt),
            seed=request.seed,
            engine=self.engine.name,
            model=self.engine.model,
            preset=request.preset.name,
            seconds=time.monotonic() - asked.started,
            adapters=tuple(str(use) for use in asked.uses),
            reason=reason,
        )

    def _short(self, negative: str) -> str:
        if self._tokens.count(negative) <= CLIP_TOKENS:
            return negative
        return ", ".join(self._tokens.fitting("", phrases(negative, prompt=""), CLIP_TOKENS))


def _whole(request: ExpandRequest, answer: Answer) -> str:
    """The answer without the phrase in whose middle it was stopped; JSON is closed elsewhere."""
    return without_cut_phrase(answer.text) if answer.cut and not request.schema else answer.text
