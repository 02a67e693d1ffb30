"""Questions to one model, one after the other, each in a thread that can be given up."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

import structlog

from skipstep.errors import PromptEngineError, SkipstepError

from ..errors import ApiError, BusyError, DrainingError

T = TypeVar("T")
GRACE_S = 2.0  # after its limit, within which an engine notices that it is late
MAX_HUNG = 3
log = structlog.get_logger()
_WEIGHT = 0.2  # of the latest


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


class Turn(Generic[T]):
    """A piece of work that waits for the model, or has it. `stop` is set when nobody wants the answer."""

    def __init__(self, work: Callable[[Turn[T]], T], *, limit_s: float) -> None:
        self.future: Future[T] = Future()
        self.stop = threading.Event()
        self.limit_s = limit_s
        self.ended = threading.Event()
        self._work = work
        self._begun_at: float | None = None

    @property
    def seconds(self) -> float:
        """Since the work began; 0 before."""
        return 0.0 if self._begun_at is None else time.monotonic() - self._begun_at

    def leave(self) -> None:
        """Take it out of the line; work that is being done stops at the next piece of the answer. Does not block."""
        self.stop.set()
        self.future.cancel()

    def check(self) -> None:
        """Called by the work wherever it can stop.

        Raises:
            StoppedError: if it is to.
        """
        if self.stop.is_set():
            raise StoppedError

    def run(self) -> None:
        """Do the work."""
        self._begun_at = time.monotonic()
        try:
            made = self._work(self)
        except StoppedError as error:
            self.refuse(error.with_traceback(None))  # whose frames hold the answer's iterator, and that the model
        except SkipstepError as error:
            self.refuse(error)
        except Exception as error:  # noqa: BLE001 - an engine may be anybody's
            log.error("the prompt model failed", error="".join(traceback.format_exception(error)))
            self.refuse(PromptEngineError(f"the prompt model failed: {type(error).__name__}"))
        else:
            with suppress(InvalidStateError):  # it was given up
                self.future.set_result(made)
        self.ended.set()

    def refuse(self, error: BaseException) -> None:
        """Give it an error in place of an answer, if it has none yet."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class Line:
    """Those who ask, of whom at most `max_waiting` wait, and jobs, whose number the queue of jobs limits, take turns.

    Work that goes on `grace_s` beyond its limit is given up: its thread is left alone, and the next has its turn. While
    three such threads hang, everything is refused at once.
    """

    def __init__(self, *, max_waiting: int, grace_s: float | None = None) -> None:
        self._max_waiting = max_waiting
        self._grace_s = GRACE_S if grace_s is None else grace_s
        self._lanes: tuple[deque[Turn[Any]], deque[Turn[Any]]] = (deque(), deque())
        self._changed = threading.Condition()
        self._running: Turn[Any] | None = None
        self._hung: list[threading.Thread] = []
        self._mean_s = 1.0
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="skipstep-prompts", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Turns that have not begun, those of jobs too."""
        with self._changed:
            return sum(_wanted(lane) for lane in self._lanes)

    @property
    def is_stuck(self) -> bool:
        """Whether so many threads hang that nothing is asked any more."""
        return sum(thread.is_alive() for thread in self._hung) >= MAX_HUNG

    def check_room(self) -> None:
        """Refuse what there is no room for.

        Raises:
            BusyError, DrainingError: with the time after which to try again.
        """
        with self._changed:
            asked = _wanted(self._lanes[0])
        if self._is_closed:
            raise _draining()
        if asked >= self._max_waiting:
            raise BusyError(
                f"{asked} questions wait for the prompt model, at most {self._max_waiting} may; try again later",
                retry_after_s=max(1, math.ceil(self._mean_s)),
            )

    def ask(self, work: Callable[[Turn[T]], T], *, limit_s: float) -> Turn[T]:
        """Wait for a turn on behalf of somebody who waits for the answer.

        Raises:
            BusyError, DrainingError: as `check_room`.
        """
        with self._changed:
            self.check_room()
            return self._put(0, Turn(work, limit_s=limit_s))

    def ask_for_job(self, work: Callable[[Turn[T]], T], *, limit_s: float) -> Turn[T]:
        """Wait for a turn on behalf of a job, which was accepted and is not refused."""
        with self._changed:
            return self._put(1, Turn(work, limit_s=limit_s))

    def close(self, timeout_s: float = 5.0) -> bool:
        """Stop what runs, and refuse what waits; whether nothing runs any more."""
        with self._changed:
            self._is_closed = True
            if self._running is not None:
                self._running.stop.set()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not any(thread.is_alive() for thread in self._hung)

    def _put(self, lane: int, turn: Turn[T]) -> Turn[T]:
        if self._is_closed:
            turn.refuse(_draining())
        else:
            self._lanes[lane].append(turn)
            self._changed.notify_all()
        return turn

    def _serve(self) -> None:
        lane = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: any(self._lanes) or self._is_closed)
                if self._is_closed:
                    break
                lane = 1 - lane if self._lanes[1 - lane] else lane
                turn = self._running = self._lanes[lane].popleft()
            if turn.future.set_running_or_notify_cancel():
                self._run(turn)
            self._running = None
        for turn in (turn for one in self._lanes for turn in one):
            turn.refuse(_draining())

    def _run(self, turn: Turn[Any]) -> None:
        if self.is_stuck:
            turn.refuse(PromptEngineError("the prompt model hangs; the server has to be restarted"))
            return
        started = time.monotonic()
        thread = threading.Thread(target=turn.run, name="skipstep-prompt-turn", daemon=True)
        thread.start()
        if not turn.ended.wait(turn.limit_s + self._grace_s):
            turn.stop.set()
            self._hung = [*(one for one in self._hung if one.is_alive()), thread]
            turn.refuse(PromptEngineError(f"the prompt model gave no answer within {round(turn.limit_s, 2):g} s"))
        self._mean_s += _WEIGHT * (time.monotonic() - started - self._mean_s)


def _wanted(lane: deque[Turn[Any]]) -> int:
    return sum(not turn.future.cancelled() for turn in lane)


def _draining() -> ApiError:
    return DrainingError("the server is ending; try again in a moment", retry_after_s=10)
