"""Models that are unloaded when nobody asks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from scripted import ScriptedEngine, asked, written
from tiny_engines import greedy

from skipstep.errors import OptionError
from skipstep.promptllm import AdapterShelf, ClipTokens, IdleEngine, PromptExpander, open_engine


class ClosingEngine(ScriptedEngine):
    """Counts how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def wait_for(engine: ClosingEngine, closed: int) -> None:
    deadline = time.monotonic() + 5
    while engine.closed < closed:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_is_closed_after_the_last_answer_and_not_before() -> None:
    inner = ClosingEngine("warm light")
    engine = IdleEngine(inner, idle_s=0.1)
    pieces = engine.generate(asked(greedy(), engine))
    next(pieces)
    time.sleep(0.2)
    assert inner.closed == 0  # it is being answered
    assert list(pieces)
    for _ in range(5):
        time.sleep(0.03)
        assert engine.generate_all([asked(greedy(), engine)])
    assert inner.closed == 0
    wait_for(inner, 1)
    assert written(engine, asked(greedy(), engine)) == "warm light"
    wait_for(inner, 2)
    engine.close()
    assert inner.closed == 3
    time.sleep(0.2)
    assert inner.closed == 3


def test_an_answer_that_nobody_reads_to_its_end_counts_as_given() -> None:
    inner = ClosingEngine("warm light")
    pieces = IdleEngine(inner, idle_s=0.02).generate(asked(greedy(), inner))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    wait_for(inner, 1)


def test_it_is_the_engine_in_all_else(tiny_model: Path, clip: ClipTokens) -> None:
    plain = open_engine("hf", model=str(tiny_model), device="cpu")
    idle = open_engine("hf", model=str(tiny_model), device="cpu", idle_s=0.05)
    for name in ("name", "model", "identity", "special_tokens", "base", "families", "batch", "loaded_bytes"):
        assert getattr(idle, name) == getattr(plain, name)
    expander = PromptExpander(idle, tokens=clip)
    expander.expand(greedy())
    loaded = idle.loaded_bytes
    deadline = time.monotonic() + 5
    while idle.loaded_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert loaded > 0
    assert AdapterShelf(idle).listed() == {}


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), 86_401])
def test_seconds_are_checked(seconds: float) -> None:
    with pytest.raises(OptionError, match="idle_s must be above 0 and at most 86400, got"):
        open_engine("echo", idle_s=seconds)
