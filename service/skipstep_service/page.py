"""The page at /: files without a build step, which may load nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).parent / "static"
# media may be blobs: outputs need the Authorization header, so scripts fetch them
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # by its ETag; or modules of two releases could meet
}


def add_page(app: FastAPI) -> None:
    """Serve the page where no route of the API is."""
    app.frontend("/", directory=FOLDER, fallback=None)
    app.add_middleware(PageHeaders, paths=frozenset({"/", *(f"/{file.name}" for file in FOLDER.iterdir())}))


class PageHeaders:
    """Adds its headers to the answers at these paths, and to no other: /docs loads its scripts from elsewhere."""

    def __init__(self, app: ASGIApp, *, paths: frozenset[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)
