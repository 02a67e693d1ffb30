"""`skipstep serve --ray` itself, with a PostgreSQL server, and the processes of its cluster."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from database import DatabaseServer, database_server
from real_server import RealServer, free_port

READY_S = 180.0
ENGINE = "ray::ServeReplica:skipstep:Engine"
HEAD = ("gcs_server", "raylet")


class RayServer(RealServer):
    """A cluster of one machine; `ray` are options without SKIPSTEP_RAY__."""

    def __init__(self, folder: Path, *, store: str, ray: dict[str, Any], **settings: Any) -> None:
        quick = {"lease_s": 6, "heartbeat_s": 2, "poll_s": 0.5, "max_queue": 1000}
        options = {"port": free_port(), "cpus": 0.01, "ingress_cpus": 0.01, "gpus": 0, **ray}
        named = {f"ray__{name}": value for name, value in options.items()}
        super().__init__(folder, store=store, **{**quick, **settings, **named})

    def begin(self) -> float:
        """Start it; the seconds until it took jobs."""
        started = time.monotonic()
        self.start([sys.executable, "-m", "skipstep", "serve", "--ray"], ready_s=READY_S)
        return time.monotonic() - started

    def replicas(self) -> list[psutil.Process]:
        """The processes of engine replicas."""
        return [one for one in self._family() if ENGINE in _line(one)]

    def head(self) -> list[psutil.Process]:
        """The processes without which there is no cluster."""
        return [one for one in self._family() if _name(one) in HEAD]

    def _family(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def seconds_until(is_so: Callable[[], bool], *, timeout_s: float = 120.0) -> float:
    """How long it took.

    Raises:
        TimeoutError: if it took longer.
    """
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"it did not come in {timeout_s:g} s")
        time.sleep(0.05)
    return time.monotonic() - started


def answers(url: str) -> bool:
    """Whether the service takes jobs."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def ray_running(
    folder: Path, *, ray: dict[str, Any], **settings: Any
) -> Iterator[tuple[RayServer, DatabaseServer, float]]:
    """A cluster that is ended after use, its database, and the seconds that its start took."""
    with database_server() as database:
        server = RayServer(folder, store=database.database(), ray=ray, **settings)
        seconds = server.begin()
        try:
            yield server, database, seconds
        finally:
            server.stop(timeout_s=120)
