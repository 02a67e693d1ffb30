"""Sockets that send slowly are closed, and those that read nothing cost no memory, while others are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
import slow_sockets
from real_server import show
from skipstep_service.body_limits import BYTES_PER_S, BodyLimits
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_real_server_closes_them_and_goes_on(tmp_path: Path) -> None:
    slow, unread = slow_sockets.run(tmp_path, headers=60, bodies=60, readers=20)
    show(slow, unread)
    assert slow.closed == slow.sockets == 120
    assert slow.slowest_close_s < 10
    assert slow.statuses == {"none": 60, "408": 60}  # granian answers nothing to headers without an end
    assert slow.health_failures == 0
    assert slow.health_checks > 50
    assert slow.health_p99_ms < 200
    assert unread.growth_mib < unread.wanted_mib / 2


def read(
    parts: Sequence[tuple[float, bytes]], *, promised: int, max_bytes: int = 10**6, first_s: float = 0.05
) -> bytes:
    """A body, read through the limits; each part comes after so many seconds."""
    coming, got = list(parts), b""

    async def receive() -> Message:
        after_s, data = coming.pop(0)
        await asyncio.sleep(after_s)
        return {"type": "http.request", "body": data, "more_body": bool(coming)}

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        nonlocal got
        while True:
            message = await receive()
            got += message["body"]
            if not message["more_body"]:
                return

    async def send(_: Message) -> None:
        raise AssertionError("the application answers")

    scope = {"type": "http", "headers": [(b"content-length", str(promised).encode())]}
    asyncio.run(BodyLimits(app, max_bytes=max_bytes, first_s=first_s)(scope, receive, send))
    return got


def test_a_body_that_comes_in_time_is_read() -> None:
    assert read([(0, b"ab"), (0.01, b"c")], promised=3) == b"abc"


@pytest.mark.parametrize("parts", [[(5, b"x")], [(0, b"x"), (5, b"x")], [(0.03, b"x"), (0.03, b"x"), (5, b"x")]])
def test_a_slow_body_is_given_up(parts: list[tuple[float, bytes]]) -> None:
    with pytest.raises(HTTPException) as caught:
        read(parts, promised=100)
    assert caught.value.status_code == 408
    assert caught.value.headers == {"Connection": "close"}


def test_what_came_earns_time() -> None:
    assert len(read([(0, b"x" * BYTES_PER_S), (0.2, b"x")], promised=0)) == BYTES_PER_S + 1


@pytest.mark.parametrize(("parts", "promised"), [([(5, b"x")], 1001), ([(0, b"x" * 600), (0, b"x" * 401)], 0)])
def test_a_large_body_is_not_read(parts: list[tuple[float, bytes]], promised: int) -> None:
    with pytest.raises(HTTPException) as caught:
        read(parts, promised=promised, max_bytes=1000)
    assert caught.value.status_code == 413


def test_a_body_of_the_most_bytes_is_read() -> None:
    assert len(read([(0, b"x" * 600), (0, b"x" * 400)], promised=1000, max_bytes=1000)) == 1000
