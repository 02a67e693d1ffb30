"""Whose turn it is with the prompt model, work that hangs, and texts at which an answer ends."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest
from skipstep_service.errors import BusyError, DrainingError
from skipstep_service.prompts.line import MAX_HUNG, Line, StoppedError, Turn
from skipstep_service.prompts.reply import Reply
from skipstep_service.prompts.schemas import check_schema

from skipstep.errors import PromptEngineError
from skipstep.promptllm import Piece

LIMIT_S = 10.0


def until(gate: threading.Event, made: Any = None) -> Any:
    def work(_: Turn[Any]) -> Any:
        gate.wait(LIMIT_S)
        return made

    return work


def begun(turn: Turn[Any]) -> Turn[Any]:
    while not turn.future.running():
        time.sleep(0.001)
    return turn


def test_those_who_ask_and_jobs_take_turns() -> None:
    line, gate, order = Line(max_waiting=9), threading.Event(), list[str]()
    first = begun(line.ask(until(gate), limit_s=LIMIT_S))
    for index in range(3):
        line.ask(lambda _, index=index: order.append(f"asked {index}"), limit_s=LIMIT_S)
    turns = [line.ask_for_job(lambda _, index=index: order.append(f"job {index}"), limit_s=1) for index in range(3)]
    gate.set()
    assert first.future.result(LIMIT_S) is None
    turns[-1].future.result(LIMIT_S)
    assert line.close()
    assert order[:5] == ["job 0", "asked 0", "job 1", "asked 1", "job 2"]


def test_who_is_too_many_is_told_to_come_later() -> None:
    line, gate = Line(max_waiting=2), threading.Event()
    begun(line.ask(until(gate), limit_s=LIMIT_S))
    waiting = [line.ask(until(gate), limit_s=LIMIT_S) for _ in range(2)]
    with pytest.raises(BusyError, match="2 questions wait for the prompt model, at most 2 may") as refused:
        line.ask(until(gate), limit_s=LIMIT_S)
    assert (refused.value.retry_after_s or 0) >= 1
    line.ask_for_job(until(gate), limit_s=LIMIT_S)
    assert line.waiting == 3
    waiting[0].leave()
    line.ask(until(gate), limit_s=LIMIT_S)  # in the place of the one that left
    gate.set()
    assert line.close()


def test_work_that_hangs_is_given_up_and_the_next_has_its_turn() -> None:
    line, gate = Line(max_waiting=9, grace_s=0.05), threading.Event()
    for _ in range(MAX_HUNG):
        turn = line.ask(until(gate, "late"), limit_s=0.05)
        with pytest.raises(PromptEngineError, match=r"no answer within 0.05 s"):
            turn.future.result(LIMIT_S)
        assert turn.stop.is_set()
    assert line.is_stuck
    with pytest.raises(PromptEngineError, match="has to be restarted"):
        line.ask(until(gate), limit_s=LIMIT_S).future.result(0.5)
    gate.set()
    while line.is_stuck:
        time.sleep(0.001)
    assert line.ask(lambda _: "answered", limit_s=LIMIT_S).future.result(LIMIT_S) == "answered"
    while not line.close():  # the other two are still ending
        time.sleep(0.001)


def test_what_is_left_when_the_line_ends() -> None:
    line = Line(max_waiting=9)
    began = threading.Event()

    def work(turn: Turn[None]) -> None:
        began.set()
        turn.stop.wait(LIMIT_S)
        turn.check()

    running = line.ask(work, limit_s=LIMIT_S)
    assert began.wait(LIMIT_S)
    waiting = line.ask_for_job(work, limit_s=LIMIT_S)
    assert line.close()
    assert isinstance(running.future.exception(1), StoppedError)
    assert isinstance(waiting.future.exception(1), DrainingError)
    with pytest.raises(DrainingError):
        line.ask(work, limit_s=LIMIT_S)
    assert isinstance(line.ask_for_job(work, limit_s=LIMIT_S).future.exception(1), DrainingError)


def test_what_nobody_foresaw_is_an_answer_too(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(max_waiting=9)

    def work(_: Turn[None]) -> None:
        raise ZeroDivisionError("secret")

    error = line.ask(work, limit_s=LIMIT_S).future.exception(LIMIT_S)
    assert isinstance(error, PromptEngineError)
    assert str(error) == "the prompt model failed: ZeroDivisionError"
    assert "secret" in capsys.readouterr().out
    assert isinstance(line.ask(lambda _: 1, limit_s=1).future, Future)
    assert line.close()


@pytest.mark.parametrize(
    ("pieces", "stops", "text", "told"),
    [
        (["a b", " c"], (), "a b c", ["a b", " c"]),
        (["a EN", "D b"], ("END",), "a ", ["a "]),
        (["a EN", "T b"], ("END",), "a ENT b", ["a ", "ENT b"]),
        (["a E", "N"], ("END",), "a EN", ["a ", "EN"]),
        (["xx; y. z"], (".", ";"), "xx", ["xx"]),
        (["aab", "aabaac"], ("aabaac",), "aab", ["aab"]),
        (["."], (".",), "", []),
    ],
)
def test_an_answer_ends_before_its_stop_text(
    pieces: list[str], stops: tuple[str, ...], text: str, told: list[str]
) -> None:
    said: list[str] = []
    reply = Reply(stops, said.append)
    enough = [reply.take(Piece(text=piece, cut=True)) for piece in pieces]
    if not enough[-1]:
        reply.end()
    assert (reply.text, said) == (text, told)
    assert reply.finish_reason == ("stop" if enough[-1] else "length")


def test_schemas_of_clients() -> None:
    inner: dict[str, Any] = {"type": "string", "maxLength": 9}
    check_schema({"type": "object", "properties": {"a": inner, "b": {"enum": ["x"]}}, "additionalProperties": False})
    check_schema({"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": inner, "maxItems": 3}]})
    deep: Any = {}
    for _ in range(8):
        deep = {"items": deep}
    for wrong, said in (
        ({"pattern": "(a+)+"}, "a keyword that is not known here"),
        ({"properties": {"a": {"$ref": "#"}}}, "a property has a keyword"),
        ({"maxLength": 10**9}, r"maxLength of schema must be 0..1000"),
        ({"minItems": True}, "minItems"),
        ({"type": "text"}, "type of schema must be among object"),
        ({"type": [["string"]]}, "type of schema"),
        ({"properties": []}, "properties of schema must be an object"),
        ({"items": 1}, "items must be an object"),
        ({"enum": []}, "enum of schema"),
        ({"required": [1]}, "required"),
        ({"minimum": "1"}, "minimum"),
        (deep, "nested more than 6 deep"),
        ({"enum": ["x" * 9000]}, "more than 8192 bytes"),
    ):
        with pytest.raises(ValueError, match=said):
            check_schema(wrong)
