"""How large the body of a request may be, and how slow."""

from __future__ import annotations

import asyncio
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIRST_S = 8.0
BYTES_PER_S = 16 * 1024
_AT_LEAST_S = 0.02  # for what has come while the event loop was busy
_CLOSE = {"Connection": "close"}  # the rest of the body is not read


class BodyLimits:
    """Ends requests whose body has more than `max_bytes`, or does not come.

    A client has `first_s` seconds, and one more for each `BYTES_PER_S` that came: one that promises much and sends
    nothing is not waited for. A body that no route reads is not limited, because it is not read here either.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, first_s: float = FIRST_S) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._first_s = first_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            receive = _Body(scope, receive, max_bytes=self._max_bytes, first_s=self._first_s).receive
        await self._app(scope, receive, send)


class _Body:
    """The body of one request while it is read."""

    def __init__(self, scope: Scope, receive: Receive, *, max_bytes: int, first_s: float) -> None:
        length = Headers(scope=scope).get("content-length", "")
        self._promised = int(length) if length.isascii() and length.isdigit() else 0
        self._receive = receive
        self._max_bytes = max_bytes
        self._first_s = first_s
        self._began_at: float | None = None
        self._bytes = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next part of it; once it is whole, whatever follows.

        Raises:
            HTTPException: 413 or 408. While FastAPI reads a body it lets no errors of other kinds through.
        """
        if self._is_whole:
            return await self._receive()
        self._check_size(self._promised)
        message = await self._in_time()
        self._bytes += len(message.get("body", b""))
        self._check_size(self._bytes)
        self._is_whole = not message.get("more_body", False)
        return message

    async def _in_time(self) -> Message:
        now = time.monotonic()
        self._began_at = now if self._began_at is None else self._began_at
        left_s = self._began_at + self._first_s + self._bytes / BYTES_PER_S - now
        try:
            return await asyncio.wait_for(self._receive(), max(left_s, _AT_LEAST_S))
        except asyncio.TimeoutError as error:
            waited_s = time.monotonic() - self._began_at
            raise HTTPException(
                408, f"the body came too slowly: {self._bytes} bytes in {waited_s:.0f} s", _CLOSE
            ) from error

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise HTTPException(413, f"the body may have {self._max_bytes} bytes; send less", _CLOSE)
