"""CPU time of the server for each request, with an engine that takes none: `POST /v1/images/generations`, answered
when the picture is there.

    python benchmarks/service/overhead.py --requests 600

Four runs: one client or sixteen, with jobs in SQLite (NORMAL) and files on disk, or both in memory only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from real_server import running
from skipstep_service import opening
from skipstep_service.app import create_app
from skipstep_service.jobs.states import RUNNING
from skipstep_service.store.job_store import JobRow


class NoStore:
    """In place of `JobStore`: rows in a dictionary, as nobody should keep them."""

    leases = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self._rows: dict[str, JobRow] = {}

    def accept(self, row: JobRow) -> Future[tuple[JobRow, bool]]:
        self._rows[row.id] = row
        return _done((row, False))

    def begin(self, rows: Sequence[JobRow], *, now: float) -> Future[set[str]]:
        for one in rows:
            self._rows[one.id] = replace(self._rows[one.id], status=RUNNING, started_at=now, attempts=1)
        return _done({one.id for one in rows})

    def finish(
        self, job_id: str, status: str, *, now: float, result: Any = None, error: Any = None, **_: Any
    ) -> Future[bool]:
        self._rows[job_id] = replace(self._rows[job_id], status=status, finished_at=now, result=result, error=error)
        return _done(True)

    def put_back(self, *, now: float) -> Future[list[JobRow]]:
        return _done([])

    def get(self, job_id: str) -> JobRow | None:
        return self._rows.get(job_id)

    def finished_before(self, moment: float, *, limit: int) -> list[JobRow]:
        return []

    def check(self) -> None:
        """There is nothing to write to."""

    def close(self) -> None:
        """Nor to close."""


class NoFiles:
    """In place of `ResultStore`."""

    is_local = True

    def __init__(self, _: Any) -> None:
        self._files: dict[tuple[str, str], bytes] = {}

    def put(self, job_id: str, name: str, data: bytes) -> None:
        self._files[job_id, name] = data

    def read_all(self, job_id: str, name: str) -> bytes:
        return self._files[job_id, name]

    def jobs(self) -> list[str]:
        return []

    def check(self) -> None:
        """There is nothing to write to."""


def _done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def without_store() -> Any:
    """The application with its rows and files in memory."""
    opening.JobStore = NoStore  # type: ignore[assignment,misc]
    opening.ResultStore = NoFiles  # type: ignore[assignment,misc]
    return create_app()


@dataclass(kw_only=True)
class Sample:
    """One run."""

    store: str
    clients: int
    cpu_ms: float  # of the server, a request
    p50_ms: float  # of a client
    requests_per_s: float


def measure(*, store: bool, clients: int, requests: int) -> Sample:
    line = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "overhead:without_store"]
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    with tempfile.TemporaryDirectory() as name, running(Path(name), max_queue=1000) as server:
        if not store:
            server.stop()
            server.start([*line, "--host", "127.0.0.1", "--port", str(server.port)])
        send(server.url, clients=clients, requests=requests // 4)
        process = server.application()
        before, started = process.cpu_times(), time.perf_counter()
        seconds = send(server.url, clients=clients, requests=requests)
        after, took = process.cpu_times(), time.perf_counter() - started
    used = after.user + after.system - before.user - before.system
    return Sample(
        store="SQLite" if store else "none",
        clients=clients,
        cpu_ms=round(used / requests * 1000, 3),
        p50_ms=round(statistics.median(seconds) * 1000, 2),
        requests_per_s=round(requests / took, 1),
    )


def send(url: str, *, clients: int, requests: int) -> list[float]:
    """Seconds of each request."""
    seconds: list[float] = []

    def client(count: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as sender:
            for number in range(count):
                started = time.perf_counter()
                body = {"prompt": "x", "size": "64x64", "steps": 1, "seed": number}
                sender.post("/v1/images/generations", json=body).raise_for_status()
                seconds.append(time.perf_counter() - started)

    with ThreadPoolExecutor(clients) as pool:
        for sent in [pool.submit(client, requests // clients) for _ in range(clients)]:
            sent.result()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=640)
    arguments = parser.parse_args()
    for store in (False, True):
        for clients in (1, 16):
            print(json.dumps(vars(measure(store=store, clients=clients, requests=arguments.requests))))


if __name__ == "__main__":
    main()
