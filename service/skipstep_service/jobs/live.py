"""What is known of a job beyond its row while this process has it: its events, and that it is to end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry import trace

from ..store.job_store import JobRow
from .events import Event

_KEPT_BYTES = 2**23  # of the events of a job; the oldest go
_JOB_BYTES = 8192  # about, beside its events


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    changed: asyncio.Event
    for_end: bool


class LiveJob:
    """A job that waits or runs here, and its events, which may be told from any thread and followed from any loop."""

    def __init__(self, row: JobRow, on_event: Sequence[Callable[[LiveJob, Event], None]] = ()) -> None:
        self.row = row
        self._on_event = on_event
        self.cancel_asked = threading.Event()
        self.accepted_at = time.monotonic()
        self.brought_by = trace.get_current_span().get_span_context()
        self.ended_at: float | None = None
        self.is_lost = False  # another server has it by now
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._kept_bytes = 0
        self._waiting: set[_Waiter] = set()
        self._attempt = row.attempts
        self._told = 0

    def begin_attempt(self, attempt: int) -> None:
        """Number the events of a new attempt from 0."""
        with self._lock:
            self._attempt, self._told = attempt, 0

    def tell(self, kind: str, /, **data: Any) -> None:
        """Add an event; nothing is told of a job that has ended."""
        self._add(lambda: Event(attempt=self._attempt, number=self._told, kind=kind, data={"at": time.time(), **data}))

    def repeat(self, event: Event) -> None:
        """Add an event that another server told of its job."""
        if event.kind == "expansion":
            told = {name: value for name, value in event.data.items() if name != "at"}
            self.row = replace(self.row, request={**self.row.request, "expansion": told})
        self._add(lambda: event)

    def _add(self, make: Callable[[], Event]) -> None:
        with self._lock:
            if self.ended_at is not None:
                return  # nobody follows it beyond its end
            event = make()
            self._attempt, self._told = event.attempt, event.number + 1
            self._keep(event)
            if event.is_last:
                self.ended_at = time.monotonic()
            waiting = [one for one in self._waiting if event.is_last or not one.for_end]
        for listen in self._on_event:
            listen(self, event)
        for one in waiting:
            with suppress(RuntimeError):  # that loop is closed, and its client with it
                one.loop.call_soon_threadsafe(one.changed.set)

    def lose(self) -> None:
        """Have it end here without an event, as another server has it by now; who follows it is to follow it there."""
        with self._lock:
            self.is_lost = True
            self.ended_at = time.monotonic()
            waiting = list(self._waiting)
        self.cancel_asked.set()
        for one in waiting:
            with suppress(RuntimeError):
                one.loop.call_soon_threadsafe(one.changed.set)

    @property
    def kept_bytes(self) -> int:
        """About how much memory it takes."""
        return _JOB_BYTES + self._kept_bytes

    @property
    def followers(self) -> int:
        """Clients that follow its events now."""
        return len(self._waiting)

    def _keep(self, event: Event) -> None:
        self._events.append(event)
        self._kept_bytes += event.bytes
        while self._kept_bytes > _KEPT_BYTES:
            self._kept_bytes -= self._events.popleft().bytes

    def events_after(self, last: tuple[int, int] | None) -> list[Event]:
        """Events behind one with this attempt and number; all, without."""
        with self._lock:
            return [event for event in self._events if last is None or (event.attempt, event.number) > last]

    async def follow(self, last: tuple[int, int] | None) -> AsyncIterator[Event]:
        """Events behind one, as they come, up to the last."""
        with self._changes(for_end=False) as changed:
            while True:
                changed.clear()
                for event in self.events_after(last):
                    yield event
                    last = event.attempt, event.number
                    if event.is_last:
                        return
                if self.is_lost or (self.ended_at is not None and not self.events_after(last)):
                    return  # or the client had seen the end
                await changed.wait()

    async def end(self) -> Event | None:
        """The last event, when it is there; None if another server has the job by now."""
        with self._changes(for_end=True) as changed:
            if self.ended_at is None:
                await changed.wait()
            return None if self.is_lost else self._events[-1]

    @contextmanager
    def _changes(self, *, for_end: bool) -> Iterator[asyncio.Event]:
        """Set at each event, or at the last."""
        waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event(), for_end)
        with self._lock:
            self._waiting.add(waiter)
        try:
            yield waiter.changed
        finally:
            with self._lock:
                self._waiting.discard(waiter)
