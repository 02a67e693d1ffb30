"""Opens sockets that send slowly, or read nothing, and measures what `skipstep serve` does about them meanwhile.

python benchmarks/service/slow_sockets.py --headers 300 --bodies 300 --readers 50
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from real_server import RealServer, running, show

HEADERS = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
BODY = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20000000\r\n\r\n"
    b'{"kind": "image", "prompt": "'
)
STEPS = 100  # evaluations of the job whose events are not read


@dataclass
class Slow:
    """What was seen; times are seconds."""

    sockets: int = 0
    closed: int = 0
    slowest_close_s: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    health_checks: int = 0
    health_failures: int = 0
    health_p50_ms: float = 0.0
    health_p99_ms: float = 0.0


@dataclass
class Unread:
    """What streams that nobody reads cost; `wanted_mib` is what was to be sent."""

    streams: int = 0
    wanted_mib: float = 0.0
    growth_mib: float = 0.0
    health_p99_ms: float = 0.0


async def attack(port: int, *, headers: int, bodies: int, for_s: float = 30.0) -> Slow:
    """Hold so many sockets of both kinds for so long, or until the server has closed them."""
    seen, over = Slow(sockets=headers + bodies), asyncio.Event()
    health = asyncio.create_task(_health(port, over))
    starts = [HEADERS] * headers + [BODY] * bodies
    more = [b"X-More: 1\r\n"] * headers + [b"x"] * bodies
    await asyncio.gather(
        *(_hold(port, start, rest, for_s, seen) for start, rest in zip(starts, more, strict=True)),
    )
    over.set()
    _note_health(seen, *await health)
    return seen


async def _hold(port: int, start: bytes, rest: bytes, for_s: float, seen: Slow) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, answer = time.monotonic(), b""
    try:
        writer.write(start)
        while time.monotonic() - began < for_s:
            try:
                part = await asyncio.wait_for(reader.read(4096), 1.0)
            except asyncio.TimeoutError:
                writer.write(rest)
                continue
            if not part:
                break
            answer += part
    except ConnectionError:
        pass
    else:
        if time.monotonic() - began >= for_s:
            return
    finally:
        writer.close()
    seen.closed += 1
    seen.slowest_close_s = max(seen.slowest_close_s, time.monotonic() - began)
    status = answer[9:12].decode() or "none"
    seen.statuses[status] = seen.statuses.get(status, 0) + 1


async def _health(port: int, over: asyncio.Event) -> tuple[list[float], int]:
    """Milliseconds of GET /healthz, each on a connection of its own, twenty times a second; and how many failed."""
    took, failures = [], 0
    while not over.is_set():
        began = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            failures += not answer.startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.TimeoutError):
            failures += 1
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.05)
    return took, failures


def _note_health(seen: Slow, took: list[float], failures: int) -> None:
    took = sorted(took)
    seen.health_checks, seen.health_failures = len(took), failures
    seen.health_p50_ms = round(took[len(took) // 2], 1)
    seen.health_p99_ms = round(took[min(len(took) - 1, int(len(took) * 0.99))], 1)


async def leave_unread(server: RealServer, *, streams: int, times: int) -> Unread:
    """Ask for the events of a job over sockets that are never read from, many times over on each."""
    job = await asyncio.to_thread(_job, server.url)
    events = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    size = len(httpx.get(f"{server.url}/v1/jobs/{job}/events").content)
    before = server.rss_mib()
    over = asyncio.Event()
    health = asyncio.create_task(_health(server.port, over))
    sockets = []
    for _ in range(streams):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", server.port))
        one.sendall(events * times)
        sockets.append(one)
    await asyncio.sleep(5)
    over.set()
    slow = Slow()
    _note_health(slow, *await health)
    growth = server.rss_mib() - before
    for one in sockets:
        one.close()
    return Unread(
        streams=streams,
        wanted_mib=round(size * times * streams / 2**20, 1),
        growth_mib=round(growth, 1),
        health_p99_ms=slow.health_p99_ms,
    )


def _job(url: str) -> str:
    body = {"kind": "image", "prompt": "x", "steps": STEPS, "n": 8, "width": 64, "height": 64, "previews": True}
    with httpx.Client(base_url=url) as client:
        job = str(client.post("/v1/jobs", json=body).raise_for_status().json()["id"])
        while client.get(f"/v1/jobs/{job}").json()["status"] != "succeeded":
            time.sleep(0.05)
    return job


def run(folder: Path, *, headers: int, bodies: int, readers: int, for_s: float = 30.0) -> tuple[Slow, Unread]:
    """Both, one after the other."""
    with running(folder) as server:
        slow = asyncio.run(attack(server.port, headers=headers, bodies=bodies, for_s=for_s))
        return slow, asyncio.run(leave_unread(server, streams=readers, times=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=int, default=300)
    parser.add_argument("--bodies", type=int, default=300)
    parser.add_argument("--readers", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        slow, unread = run(Path(name), **vars(arguments))
    show(slow, unread)
    sys.exit(0 if slow.closed == slow.sockets and slow.slowest_close_s <= 10 and slow.health_p99_ms < 200 else 1)


if __name__ == "__main__":
    main()
