"""The worker's loop: builds passes, runs them and takes weights until the other side ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from socket import socket
from typing import Any, Protocol

import numpy as np

from .program import Program
from .versions import preload, versions
from .wire import IDLE, RUNNING, Memory, receive, send

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
Array = np.ndarray[Any, Any]
Answer = dict[str, Any]


class Pass(Protocol):
    """A pass that was built."""

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs."""
        ...

    def refresh(self, weights: dict[str, Array]) -> None:
        """Write these over the weights of the same names."""
        ...


def serve(connection: int, memory: int) -> None:
    """Answer what comes through the socket, one message after the other."""
    with socket(fileno=connection) as other:
        worker = Worker(Memory(memory))
        preload()
        send(other, versions())
        while True:
            message = receive(other)
            if message is None:
                return
            answer = worker.answer(message)
            send(other, answer)
            if "error" in answer:
                # a failed graph leaves OneFlow 0.9.0 in a state in which the next one aborts; its own end may, too
                os._exit(1)


class Worker:
    """The passes of one model."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._weights: dict[str, Array] = {}  # of the pass that is built next
        self._passes: dict[int, Pass] = {}

    def answer(self, message: dict[str, Any]) -> Answer:
        """What there is to say to a message: "error" if it could not be done."""
        doing: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "weights": self._take, "build": self._build, "run": self._run, "refresh": self._refresh, "drop": self._drop
        }  # fmt: skip
        try:
            return doing[message["do"]](message)
        except Exception as error:  # noqa: BLE001  the other side says it, and this process ends
            return {"error": f"{type(error).__name__}: {_said(error)}", "at": self._memory.at}
        finally:
            self._memory.at = IDLE

    def _take(self, message: dict[str, Any]) -> Answer:
        self._weights.update(zip(message["names"], self._memory.get(message["tensors"]), strict=True))
        return {}

    def _build(self, message: dict[str, Any]) -> Answer:
        weights, self._weights = self._weights, {}
        program = Program(nodes=message["nodes"], inputs=message["inputs"], outputs=message["outputs"], tell=self._tell)
        made = _pass_class(message["engine"])(program, weights)
        answer = self._outputs(made, message)
        self._passes[message["pass"]] = made
        return answer

    def _run(self, message: dict[str, Any]) -> Answer:
        self._memory.at = RUNNING
        return self._outputs(self._passes[message["pass"]], message)

    def _refresh(self, message: dict[str, Any]) -> Answer:
        weights, self._weights = self._weights, {}
        self._passes[message["pass"]].refresh(weights)
        return {}

    def _drop(self, message: dict[str, Any]) -> Answer:
        self._passes.pop(message["pass"], None)
        return {}

    def _outputs(self, made: Pass, message: dict[str, Any]) -> Answer:
        arrays = self._memory.get(message["tensors"])
        return {"tensors": self._memory.put(made(arrays))}

    def _tell(self, at: int) -> None:
        self._memory.at = at


def _said(error: Exception) -> str:
    """In one line, what of OneFlow's message is for people: which operator and why, and not where in its sources."""
    lines = [_COLOUR.sub("", line).strip() for line in str(error).splitlines()]
    telling = takewhile(lambda line: not line.startswith(("File ", "Error Type")), filter(None, lines))
    return "; ".join(telling)[:500] or "no message"


def _pass_class(engine: str) -> Any:
    if engine == "onediff":
        from .onediff_pass import OneDiffPass

        return OneDiffPass
    from .flow_pass import FlowPass

    return FlowPass
