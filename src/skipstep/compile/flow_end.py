"""How a OneFlow process ended, and while doing what, in words."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Sequence
from typing import IO

from .flow_worker.wire import COMPILING, IDLE, RUNNING

_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
_FATAL = re.compile(r"F\d{8} [\d:.]+ +\d+ (.*)")  # a line of OneFlow's log that says why it aborts


def place(what: str, at: int, operators: Sequence[str]) -> str:
    """While it was at what, in words that follow "failed" or "ended"."""
    if what == "building" and 0 < at <= len(operators):
        return f"while building {operators[at - 1]} (operator {at} of {len(operators)})"
    words = {COMPILING: "while compiling the graph", RUNNING: "while running the graph", IDLE: f"while {what}"}
    return words.get(at, f"while {what}")


def ended_how(code: int | None) -> str:
    """How, by its exit code; None if it is still there."""
    if code is None:
        return "closed its connection"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with {code}"


def is_from_outside(code: int | None) -> bool:
    """Whether somebody ended it, or it hung up: no fault of what it was doing."""
    return code is None or (code < 0 and signal.Signals(-code).name in _FROM_OUTSIDE)


def last_words(log: IO[bytes]) -> str:
    """Why, by the last line of its log: the one with which OneFlow aborts, if there is such."""
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 2**14))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    fatal = [found[1] for found in map(_FATAL.match, lines) if found]
    return (fatal or lines or [""])[-1][:300]
