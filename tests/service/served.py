"""A server in a thread of this process, and a client of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from real_server import free_port
from skipstep_service.app import Opens, create_app
from skipstep_service.settings import Settings

IMAGE: dict[str, Any] = {"kind": "image", "prompt": "a red apple", "steps": 9, "seed": 5}


class Client(httpx.Client):
    """Speaks to one server."""

    def job(self, **body: Any) -> dict[str, Any]:
        """Accept a job that has to be accepted."""
        answer = self.post("/v1/jobs", json={**IMAGE, **body})
        assert answer.status_code == 202, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def look(self, job_id: str) -> dict[str, Any]:
        """The job by now."""
        found: dict[str, Any] = self.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return found

    def until_done(self, job_id: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """The job when it has ended."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            job = self.look(job_id)
            if job["status"] in ("succeeded", "failed", "expired", "canceled"):
                return job
            time.sleep(0.01)
        raise TimeoutError(f"{job_id} is still {job['status']}")

    def until_ready(self, *, timeout_s: float = 60.0) -> None:
        """Until the server takes jobs."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                if self.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > end:
                raise TimeoutError("the server is not ready")
            time.sleep(0.02)

    def events(self, job_id: str, *, after: str | None = None) -> Iterator[dict[str, Any]]:
        """The job's events, each with `id`, `event` and `data`."""
        headers = {} if after is None else {"Last-Event-ID": after}
        with self.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
            assert answer.status_code == 200
            yield from parsed(answer.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Events of a stream (WHATWG HTML, 9.2)."""
    event: dict[str, Any] = {}
    for line in lines:
        if not line:
            if "data" in event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


@contextmanager
def serving(folder: Path, *, opens: Opens | None = None, **settings: Any) -> Iterator[Client]:
    """A server of the dummy engine, with its files in the folder."""
    port = free_port()
    options: dict[str, Any] = {
        "engine": "dummy",
        "store": f"sqlite:///{folder / 'jobs.db'}",
        "results": str(folder / "results"),
        "synchronous": "NORMAL",
        "port": port,
        **settings,
    }
    config = uvicorn.Config(
        create_app(Settings(**options), opens=opens), port=port, log_level="warning", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        with Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            client.until_ready()
            yield client
    finally:
        server.should_exit = True
        thread.join()
