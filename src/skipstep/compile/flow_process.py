"""The process that OneFlow runs in: one for each model, since a failed graph takes its process with it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from socket import socket, socketpair
from typing import IO, Any
from weakref import finalize

import numpy as np
import torch

from ..errors import BackendError, WorkerLostError
from .flow_end import ended_how, is_from_outside, last_words, place
from .flow_worker import START
from .flow_worker.wire import Memory, receive, send

PATIENCE_S = 1800.0  # for one answer; OneFlow compiles a UNet in seconds to minutes
_CHUNK = 64 * 2**20  # bytes of weights that are handed over at a time

Array = np.ndarray[Any, Any]


class FlowProcess:
    """One process, from its start to its end; what it is asked is answered in turn.

    Raises:
        BackendError: if it does not start, with what it said.
    """

    def __init__(self, python: str) -> None:
        self.turn = threading.RLock()  # for questions that belong together
        self.has_crashed = False  # by itself
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        file = os.memfd_create("skipstep-oneflow")
        self._memory = Memory(file)
        self._socket, theirs = socketpair()
        self._socket.settimeout(PATIENCE_S)
        try:
            self._process = _started(python, theirs, file, self._log)
        except OSError as error:
            for opened in (self._socket, self._memory, self._log):
                opened.close()
            raise BackendError(f"OneFlow's Python {python} cannot be started: {error.strerror or error}") from error
        finally:
            theirs.close()
        self._end = finalize(self, _end, self._process, self._socket, self._memory, self._log)
        try:
            self.versions = self._answer("starting", {})
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked; one that was killed is found out by asking."""
        return self._end.alive

    @property
    def has_ended(self) -> bool:
        """Whether it is no longer there, known or not."""
        return not self.is_alive or self._process.poll() is not None

    def end(self) -> None:
        """End it; nothing is kept."""
        self._end()

    def weights(self, named: dict[str, Array]) -> None:
        """Hand over weights, for the pass that is built or refreshed next."""
        with self.turn:
            for names in _chunks(named):
                self._ask("taking weights", {"do": "weights", "names": names}, [named[name] for name in names])

    def build(self, message: dict[str, Any], operators: Sequence[str], arrays: Sequence[Array]) -> list[Array]:
        """Build a pass and run it once; what it gives.

        Raises:
            BackendError: if OneFlow cannot, naming the operator.
            WorkerLostError: if the process was ended from outside.
        """
        return self._ask("building", {"do": "build", **message}, arrays, operators)

    def run(self, number: int, arrays: Sequence[Array]) -> list[Array]:
        """What a pass gives.

        Raises:
            BackendError: if OneFlow cannot run it.
            WorkerLostError: if the process ended.
        """
        return self._ask("running", {"do": "run", "pass": number}, arrays)

    def refresh(self, number: int) -> None:
        """Put the weights that were handed over into a pass."""
        self._ask("refreshing", {"do": "refresh", "pass": number})

    def drop(self, number: int) -> None:
        """Let go of a pass."""
        self._ask("dropping", {"do": "drop", "pass": number})

    def _ask(
        self, what: str, message: dict[str, Any], arrays: Sequence[Array] = (), operators: Sequence[str] = ()
    ) -> list[Array]:
        with self.turn:
            try:
                message = {**message, "tensors": self._memory.put(arrays)}
                answer = self._answer(what, message, operators)
                return self._memory.get(answer.get("tensors", []))
            except BaseException:  # an interrupt would leave its answer to the next question
                self.end()
                raise

    def _answer(self, what: str, message: dict[str, Any], operators: Sequence[str] = ()) -> dict[str, Any]:
        try:
            if message:
                send(self._socket, message)
            answer = receive(self._socket)
        except TimeoutError:
            raise WorkerLostError(
                f"the OneFlow process gave no answer for {PATIENCE_S / 60:.0f} minutes while {what}; it was ended, "
                "and the next run starts another"
            ) from None
        except ConnectionError:
            answer = None
        if answer is None:
            raise self._ended(what, operators)
        if "error" in answer:
            raise BackendError(f"OneFlow failed {place(what, answer['at'], operators)}: {answer['error']}")
        return answer

    def _ended(self, what: str, operators: Sequence[str]) -> BackendError | WorkerLostError:
        """What its end is: a loss for the run, or the fault of what it was building."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        code = self._process.returncode
        ended = f"the OneFlow process {ended_how(code)} {place(what, self._memory.at, operators)}"
        was_killed = is_from_outside(code)
        self.has_crashed = not was_killed
        told = "" if was_killed else last_words(self._log)
        said = f"{ended}: {told}" if told else ended
        if what != "starting" and (what == "running" or was_killed):
            return WorkerLostError(f"{said}; this run ends, the next starts another")
        return BackendError(said)


def _started(python: str, theirs: socket, memory: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    # its own session: Ctrl-C is for this process, which then ends that one
    return subprocess.Popen(
        [python, "-I", str(START), str(theirs.fileno()), str(memory)],
        pass_fds=(theirs.fileno(), memory),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**keep, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )


def _end(process: subprocess.Popen[bytes], *opened: socket | Memory | IO[bytes]) -> None:
    process.kill()
    process.wait()
    for one in opened:
        one.close()


def _chunks(named: dict[str, Array]) -> list[list[str]]:
    chunks: list[list[str]] = []
    size = _CHUNK
    for name, array in named.items():
        if size + array.nbytes > _CHUNK:
            chunks.append([])
            size = 0
        chunks[-1].append(name)
        size += array.nbytes
    return chunks
