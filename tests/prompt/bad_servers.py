"""A server on this machine that answers a request in one of many wrong ways, or in the right one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

Behaviour = Callable[[socket.socket, Event], None]


def head(status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n{more}\r\n".encode()


def delta(text: str, finish: str | None = None) -> bytes:
    """An event of a stream."""
    event = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}
    return f"data: {json.dumps(event)}\n\n".encode()


def message(content: object) -> bytes:
    """A whole answer."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


def sends(data: bytes) -> Behaviour:
    """All at once."""
    return lambda connection, _: connection.sendall(data)


def drips(first: bytes, again: bytes) -> Behaviour:
    """`first`, then `again` for ever, a little at a time."""

    def behave(connection: socket.socket, over: Event) -> None:
        connection.sendall(first)
        while not over.wait(0.02):
            connection.sendall(again)

    return behave


def floods(first: bytes, again: bytes) -> Behaviour:
    """`first`, then `again` for ever, as fast as it is read."""

    def behave(connection: socket.socket, over: Event) -> None:
        connection.sendall(first)
        while not over.is_set():
            connection.sendall(again)

    return behave


def is_silent(_: socket.socket, over: Event) -> None:
    """Reads, and says nothing."""
    over.wait(30)


class Served:
    """Where a server is, and the requests that came, whole."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[bytes] = []


@contextmanager
def server(behave: Behaviour) -> Iterator[Served]:
    """A server that behaves so to each connection, until the block ends."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = Served(listener.getsockname()[1])
        threads: list[Thread] = []

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(10)
                served.requests.append(_request(connection))
                behave(connection, over)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threads.append(Thread(target=serve, args=(connection,), daemon=True))
                    threads[-1].start()

        accepting = Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield served
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join(10)


def _request(connection: socket.socket) -> bytes:
    """Head and body of a request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    top, body = data.split(b"\r\n\r\n", 1)
    length = next(int(line[15:]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65_536)
    return top + b"\r\n\r\n" + body
