"""Receivers of webhooks, and ports that nobody may connect to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENDLESS = (299,)  # with a body that does not end
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
HOOKS = {"webhook_secret": SECRET, "webhook_allow": ["127.0.0.0/8"]}


@dataclass(frozen=True, slots=True)
class Posted:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Answers with one status after the other, the last again and again, and keeps what it was sent."""

    port: int
    scheme: str = "http"
    posted: list[Posted] = field(default_factory=list)

    def url(self, rest: str = "/hook?token=letmein") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{rest}"

    def until(self, count: int, *, timeout_s: float = 20.0) -> list[Posted]:
        """What was posted, when it is so much."""
        end = time.monotonic() + timeout_s
        while len(self.posted) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.posted)} of {count} were posted")
            time.sleep(0.01)
        return self.posted


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # with 5, connections are reset


@contextmanager
def receiving(
    statuses: Sequence[int] = (200,),
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    location: str | None = None,
    wait: threading.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Receiver]:
    """A receiver; `location` is where it sends clients to, `wait` keeps it from answering until it is set."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posted.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if wait is not None:
                wait.wait()
            with contextlib.suppress(OSError):
                self.send_response(statuses[min(len(receiver.posted), len(statuses)) - 1])
                if location is not None:
                    self.send_header("Location", location)
                self.end_headers()
                while statuses == ENDLESS:
                    self.wfile.write(b"x" * 65536)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = Server((host, port), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_address[1], "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        if wait is not None:
            wait.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Trap:
    """A port that counts who connects to it."""

    port: int
    connections: int = 0


@contextmanager
def trap(host: str = "127.0.0.1", port: int = 0) -> Iterator[Trap]:
    """One that listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, dualstack_ipv6=":" in host) as listening:
        listening.settimeout(0.02)
        found, ending = Trap(listening.getsockname()[1]), threading.Event()

        def count() -> None:
            while True:
                is_last = ending.is_set()  # before the look, which finds all that connected until then
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    if is_last:
                        return
                else:
                    found.connections += 1
                    connection.close()

        thread = threading.Thread(target=count)
        thread.start()
        try:
            yield found
        finally:
            ending.set()
            thread.join()


def resolving(answers: dict[str, list[str]]) -> object:
    """A `socket.getaddrinfo` that answers for some names, one address after the other, the last again and again.

    An answer of several addresses has commas. All other names than numbers are unknown: no test asks a name server.
    """
    real, asked = socket.getaddrinfo, dict.fromkeys(answers, 0)

    def getaddrinfo(host: object, port: object, *args: object, **options: object) -> object:
        name = host.decode() if isinstance(host, bytes) else host
        if name in answers:
            listed = answers[name]
            answer = listed[min(asked[name], len(listed) - 1)]
            asked[name] += 1
            return [info for one in answer.split(",") for info in real(one, port, *args, **options)]  # type: ignore[arg-type]
        if isinstance(name, str) and name[:1].isalpha() and name != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(name, port, *args, **options)  # type: ignore[arg-type]

    return getaddrinfo
