"""Answers that are written by a thread: read until a deadline, and stopped when nobody reads any more."""

from __future__ import annotations

import time
from threading import Event

import pytest

from skipstep.errors import ModelLoadError, PromptEngineError
from skipstep.promptllm import Piece
from skipstep.promptllm.pieces import Put, read_until


def soon() -> float:
    return time.monotonic() + 20


def test_pieces_come_as_they_are_written() -> None:
    read, stopped = Event(), Event()

    def write(put: Put) -> None:
        assert put(Piece(text="a")) is False
        assert read.wait(20)  # the first is read before the second is written
        put(Piece(text="b", cut=True))

    pieces = read_until(soon(), write, stop=stopped.set)
    assert next(pieces) == Piece(text="a")
    read.set()
    assert list(pieces) == [Piece(text="b", cut=True)]
    assert stopped.is_set()


def test_a_reader_that_goes_stops_the_writer() -> None:
    done, stopped = Event(), Event()

    def write(put: Put) -> None:
        while not put(Piece(text="a")):
            stopped.wait(0.001)
        done.set()

    pieces = read_until(soon(), write, stop=stopped.set)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert done.wait(20)
    assert stopped.is_set()


def test_what_the_writer_raises_is_raised_where_it_is_read() -> None:
    def odd(_: Put) -> None:
        raise ZeroDivisionError("no")

    def ours(_: Put) -> None:
        raise ModelLoadError("not there")

    with pytest.raises(PromptEngineError, match="the engine failed: ZeroDivisionError: no"):
        list(read_until(soon(), odd))
    with pytest.raises(ModelLoadError, match="not there"):
        list(read_until(soon(), ours))


def test_a_deadline_in_the_past_is_over() -> None:
    over = Event()

    def write(_: Put) -> None:
        over.wait(20)

    with pytest.raises(PromptEngineError, match="no whole answer within"):
        list(read_until(time.monotonic() - 1, write))
    over.set()
