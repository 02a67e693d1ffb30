"""What the prompt model writes, from its thread into a stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Generic, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..prompts.line import Turn

T = TypeVar("T")
PAUSE_S = 15.0  # after which proxies are told that the connection lives


class Feed(Generic[T]):
    """Things that another thread hands over to the event loop in which this was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | None] = asyncio.Queue()

    def put(self, item: T | None) -> None:
        """Hand something over; None is the end. Does not block."""
        with suppress(RuntimeError):  # the loop is closed, and the client with it
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def until_done(self, turn: Turn[Any], *, pause_s: float = PAUSE_S) -> AsyncIterator[T | None]:
        """What comes before the turn is done, and None whenever so many seconds brought nothing."""
        turn.future.add_done_callback(lambda _: self.put(None))
        while True:
            try:
                item = await asyncio.wait_for(self._queue.get(), pause_s)
            except asyncio.TimeoutError:
                yield None
                continue
            if item is None:
                return
            yield item


class TurnStream(StreamingResponse):
    """Events of a turn. A client that leaves ends it."""

    media_type = "text/event-stream"

    def __init__(self, turn: Turn[Any], events: AsyncIterator[bytes]) -> None:
        self._turn = turn
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._turn.leave()
