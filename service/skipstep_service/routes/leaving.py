"""Clients that go away while they are waited for."""

from __future__ import annotations

from fastapi import Request


async def left(request: Request) -> None:
    """Until the client closes the connection; the body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
