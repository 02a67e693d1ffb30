"""What is known of a job beyond its row while this process has it: its events, and that it is to end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import trace

from ..store.job_store import JobRow
from .states import TERMINAL

_KEPT_BYTES = 2**23  # of the events of a job; the oldest go
_EVENT_BYTES = 1024  # about, beside a preview
_JOB_BYTES = 8192  # about, beside its events


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job. Its id is the attempt and a number without gaps: 1-0, 1-1, ..."""

    attempt: int
    number: int
    kind: str  # status, expansion, progress, preview, output
    data: dict[str, Any] = field(hash=False)

    @property
    def id(self) -> str:
        """As SSE's `id:`."""
        return f"{self.attempt}-{self.number}"

    @property
    def bytes(self) -> int:
        """About how much memory it takes."""
        return _EVENT_BYTES + (len(self.data["data"]) if self.kind == "preview" else 0)

    @property
    def is_last(self) -> bool:
        """Whether the job has ended."""
        return self.kind == "status" and self.data["status"] in TERMINAL


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
        with self._lock:
            if self.ended_at is not None:
                return  # nobody follows it beyond its end
            event = Event(attempt=self._attempt, number=self._told, kind=kind, data={"at": time.time(), **data})
            self._told += 1
            self._keep(event)
            if event.is_last:
                self.ended_at = time.monotonic()
            waiting = [one for one in self._waiting if event.is_last or not one.for_end]
        for listen in self._on_event:
            listen(self, event)
        for one in waiting:
            with suppress(RuntimeError):  # that loop is closed, and its client with it
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
                if self.ended_at is not None and not self.events_after(last):
                    return  # the client had seen the end
                await changed.wait()

    async def end(self) -> Event:
        """The last event, when it is there."""
        with self._changes(for_end=True) as changed:
            if self.ended_at is None:
                await changed.wait()
            return self._events[-1]

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


def parse_event_id(text: str) -> tuple[int, int] | None:
    """Attempt and number of an event's id; None if it is none of ours."""
    parts = text.split("-")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return None
    return int(parts[0]), int(parts[1])
