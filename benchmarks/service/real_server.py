"""`skipstep serve` itself, in a process of its own, with the dummy engine; other scripts here attack it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil

READY_S = 60.0


class RealServer:
    """A server on a free port, with its files and its log in a folder; `settings` are variables without SKIPSTEP_."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder / "server.log"
        given = {"store": f"sqlite:///{folder / 'jobs.db'}", "results": folder / "results", "synchronous": "NORMAL"}
        given |= {"engine": "dummy", "port": self.port, **settings}
        self._environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            **{f"SKIPSTEP_{name.upper()}": str(value) for name, value in given.items()},
        }
        self.store = str(given["store"])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, line: list[str] | None = None, *, ready_s: float = READY_S) -> None:
        """Start it, and wait until it takes jobs; `line` in place of `skipstep serve`."""
        line = [sys.executable, "-m", "skipstep", "serve"] if line is None else line
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, env=self._environment, stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + ready_s
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.02)
        self.stop()
        raise TimeoutError(f"the server did not get ready: {self.log.read_text()[-2000:]}")

    def stop(self, *, timeout_s: float = 60.0) -> int:
        """End it as an operator does; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.application().kill()
            self.process.kill()
            self.process.wait()
            raise

    def application(self) -> psutil.Process:
        """The process that has the application: granian's worker, or the server itself where there is none."""
        assert self.process is not None
        own = psutil.Process(self.process.pid)
        return max([*own.children(recursive=True)] or [own], key=lambda one: one.num_threads())

    def rss_mib(self) -> float:
        """The memory that the application has now."""
        return float(self.application().memory_info().rss / 2**20)

    def peak_mib(self) -> float:
        """The most memory that the application had by now."""
        status = Path(f"/proc/{self.application().pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def show(*figures: Any) -> None:
    """Print what was seen, as JSON."""
    print(json.dumps({type(one).__name__.lower(): asdict(one) for one in figures}, indent=2))


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[RealServer]:
    """A server that is ended after use."""
    server = RealServer(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
