"""The prompt model of a server: prompts are expanded and chats answered, each in its turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from skipstep.errors import AdapterError, OptionError, PromptEngineError
from skipstep.promptllm import AdapterUse, ExpandRequest, Expansion, Preset, PromptExpander, Question

from .line import Line, StoppedError, Turn
from .presets import preset_of
from .reply import Reply, nobody

T = TypeVar("T")
OnTurn = Callable[[str, str, float], None]  # what was asked for, how it went, seconds
Answered = tuple[str, bool]  # the text, and whether the model had more to say
ANSWERED, UNCHANGED, STOPPED, REFUSED, FAILED = "answered", "unchanged", "stopped", "refused", "failed"
_SAME = ("max_tokens", "temperature", "max_clip_tokens", "keep", "schema")  # in bodies and in `ExpandRequest`
_LEAST_S = 0.01


class Prompting:
    """One model, its presets and its adapters; `root` is the folder that adapters are in, if there is one."""

    def __init__(
        self,
        expander: PromptExpander,
        presets: Mapping[str, Preset],
        line: Line,
        *,
        timeout_s: float,
        root: Path | None = None,
        on_turn: OnTurn = nobody,
    ) -> None:
        self.expander = expander
        self.engine = expander.engine
        self.presets = presets
        self.line = line
        self.timeout_s = timeout_s
        self.root = root
        self._on_turn = on_turn

    def request_of(self, prompt: str, asked: Mapping[str, Any], *, seed: int | None = None) -> ExpandRequest:
        """What the fields of a body ask for; the seed of the job is taken where they have none.

        Raises:
            OptionError: if a value is out of range, or there is no such preset or adapter.
        """
        seed = seed if asked["seed"] is None else asked["seed"]
        options: dict[str, Any] = {name: asked[name] for name in _SAME}
        if seed is not None:
            options["seed"] = seed
        request = ExpandRequest(
            prompt=prompt,
            preset=preset_of(self.presets, asked["preset"]),
            timeout_s=min(asked.get("timeout_s") or self.timeout_s, self.timeout_s),
            adapters=_uses(asked["adapters"]),
            **options,
        )
        self.expander.adapters.stack(request.adapters or ())
        return request

    def expand(self, request: ExpandRequest, on_text: Callable[[str], None] = nobody) -> Turn[Expansion]:
        """Have a prompt expanded, in its time from now on; `on_text` is called in another thread.

        Raises:
            BusyError, DrainingError: as `Line.ask`.
        """
        until = time.monotonic() + request.timeout_s

        def work(turn: Turn[Expansion]) -> Expansion:
            left_s = max(until - time.monotonic(), _LEAST_S)
            return self._expanded(turn, replace(request, timeout_s=left_s), on_text)

        return self._told("expand", self.line.ask(work, limit_s=request.timeout_s))

    def expand_for_job(self, request: ExpandRequest, check: Callable[[], None]) -> Turn[Expansion]:
        """Have the prompt of a job expanded, in its time from its turn on; `check` raises where it is to stop."""

        def work(turn: Turn[Expansion]) -> Expansion:
            check()
            return self._expanded(turn, request, lambda _: check())

        return self._told("job", self.line.ask_for_job(work, limit_s=request.timeout_s))

    def expand_all(self, requests: Sequence[ExpandRequest], *, is_first: bool) -> Turn[list[Expansion]]:
        """Have as many prompts expanded as the model takes at once; what follows the first of a batch is not refused.

        Raises:
            BusyError, DrainingError: as `Line.ask`.
        """

        def work(turn: Turn[list[Expansion]]) -> list[Expansion]:
            turn.check()
            return self.expander.expand_all(requests)

        ask = self.line.ask if is_first else self.line.ask_for_job
        return self._told("batch", ask(work, limit_s=max(request.timeout_s for request in requests)))

    def answer(self, question: Question, reply: Reply) -> Turn[None]:
        """Have a chat answered before the question's deadline, in another thread.

        Raises:
            BusyError, DrainingError: as `Line.ask`.
        """

        def work(turn: Turn[None]) -> None:
            is_empty = True
            for piece in self.engine.generate(question):
                turn.check()
                is_empty = False
                if reply.take(piece):
                    return
            if is_empty:
                raise PromptEngineError("the prompt model gave no answer")
            reply.end()

        limit_s = max(question.deadline - time.monotonic(), _LEAST_S)
        return self._told("chat", self.line.ask(work, limit_s=limit_s))

    def unload(self) -> Turn[None]:
        """Give the model's memory back, after what is asked now; the next question loads it again."""
        return self.line.ask_for_job(lambda _: self.expander.close(), limit_s=self.timeout_s)

    def state(self) -> str:
        """For people who look after the server."""
        if self.line.is_stuck:
            return "hangs"
        return "loaded" if self.engine.loaded_bytes else "not loaded"

    def close(self) -> None:
        """Stop what runs, refuse what waits, and give the model's memory back."""
        if self.line.close():
            self.expander.close()  # which would wait for a model that hangs

    def _expanded(self, turn: Turn[Expansion], request: ExpandRequest, on_text: Callable[[str], None]) -> Expansion:
        def heard(text: str) -> None:
            turn.check()
            on_text(text)

        turn.check()
        return self.expander.expand(request, heard)

    def _told(self, kind: str, turn: Turn[T]) -> Turn[T]:
        """The same turn, of which is told how it went."""
        turn.future.add_done_callback(lambda done: self._on_turn(kind, outcome_of(done), turn.seconds))
        return turn


def _uses(asked: Sequence[Mapping[str, Any]] | None) -> tuple[AdapterUse, ...] | None:
    return None if asked is None else tuple(AdapterUse(name=one["name"], scale=one["scale"]) for one in asked)


def outcome_of(done: Future[Any]) -> str:
    """How a turn went, in one word."""
    error = None if done.cancelled() else done.exception()
    if done.cancelled() or isinstance(error, StoppedError):
        return STOPPED
    if error is not None:
        return REFUSED if isinstance(error, (OptionError, AdapterError)) else FAILED
    made = done.result()
    expansions = [one for one in (made if isinstance(made, list) else [made]) if isinstance(one, Expansion)]
    return UNCHANGED if any(one.reason is not None for one in expansions) else ANSWERED
