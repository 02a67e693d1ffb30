"""Clients that leave before their answer ends, which is no fault of the server."""

from __future__ import annotations

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()


class Departures:
    """Notes that a client left, in place of the errors that its going causes in whatever was about to send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        has_left = False

        async def receive_or_note() -> Message:
            nonlocal has_left
            message = await receive()
            has_left = has_left or message["type"] == "http.disconnect"
            return message

        async def send_or_note(message: Message) -> None:
            nonlocal has_left
            try:
                await send(message)
            except OSError:
                has_left = True
                raise

        try:
            await self._app(scope, receive_or_note, send_or_note)
        except Exception as error:
            if not has_left:
                raise
            log.info("a client left", path=scope["path"], error=type(error).__name__)
