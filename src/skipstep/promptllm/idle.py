"""Gives a model's memory back when nobody has asked for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Timer

from ..adapters import AdapterInfo
from ..errors import OptionError, PromptEngineError
from .engine import Answer, Engine, Piece, Question

MAX_IDLE_S = 86_400.0


class IdleEngine(Engine):
    """An engine that is closed `idle_s` seconds after its last answer, and loaded again by the next question.

    Raises:
        OptionError: if `idle_s` is not above 0, or more than a day.
    """

    def __init__(self, engine: Engine, *, idle_s: float) -> None:
        if not 0 < idle_s <= MAX_IDLE_S:  # also refuses NaN
            raise OptionError(f"idle_s must be above 0 and at most {MAX_IDLE_S:g}, got {idle_s}")
        self._engine = engine
        self._idle_s = idle_s
        self._lock = Lock()
        self._asked = 0
        self._timer: Timer | None = None
        self.name, self.model, self.identity = engine.name, engine.model, engine.identity
        self.special_tokens, self.batch = engine.special_tokens, engine.batch
        self.base, self.families = engine.base, engine.families

    @property
    def loaded_bytes(self) -> int:
        """What the model takes in memory now."""
        return self._engine.loaded_bytes

    def generate(self, question: Question) -> Iterator[Piece]:
        """As the engine's."""
        with self._asking():
            yield from self._engine.generate(question)

    def generate_all(self, questions: Sequence[Question]) -> list[Answer | PromptEngineError]:
        """As the engine's."""
        with self._asking():
            return self._engine.generate_all(questions)

    def forget(self, adapter: AdapterInfo) -> None:
        """As the engine's."""
        self._engine.forget(adapter)

    def close(self) -> None:
        """Give the memory back now."""
        with self._lock:
            self._stop_timer()
        self._engine.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """While one question or batch is answered."""
        with self._lock:
            self._asked += 1
            self._stop_timer()
        try:
            yield
        finally:
            with self._lock:
                self._asked -= 1
                if not self._asked:
                    self._timer = Timer(self._idle_s, self._close_idle)
                    self._timer.daemon = True
                    self._timer.start()

    def _close_idle(self) -> None:
        with self._lock:
            if self._asked:
                return
            self._engine.close()
