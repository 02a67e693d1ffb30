"""The real server under SIGTERM: what runs ends or waits again, nothing new is taken, the next start does the rest."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from real_server import RealServer, show
from served import IMAGE, Client

pytestmark = pytest.mark.timeout(120)
RUNNING, WAITING = 8, 6


@dataclass
class Drain:
    """What was seen."""

    seconds: float
    exit_code: int
    refused: int
    answers: list[tuple[int, str | None]]


class Ending(threading.Thread):
    """Sends jobs to a server that ends, until it is gone."""

    def __init__(self, server: RealServer) -> None:
        super().__init__(daemon=True)
        self.refused = 0
        self.answers: list[tuple[int, str | None]] = []
        self._server = server

    def run(self) -> None:
        assert self._server.process is not None
        with httpx.Client(base_url=self._server.url, timeout=30) as client:
            while self._server.process.poll() is None:
                try:
                    answer = client.post("/v1/jobs", json=IMAGE)
                except httpx.TransportError:
                    self.refused += 1
                else:
                    self.answers.append((answer.status_code, answer.headers.get("Retry-After")))
                time.sleep(0.02)


@contextmanager
def loaded(folder: Path, *, steps: int, **settings: Any) -> Iterator[tuple[RealServer, Client, list[str]]]:
    """A server with a full batch of jobs that run, and some that wait."""
    server = RealServer(folder, max_rows=RUNNING, **settings)
    server.start()
    try:
        with Client(base_url=server.url, timeout=30) as client:
            jobs = [client.job(steps=steps, seed=seed)["id"] for seed in range(RUNNING + WAITING)]
            while sum(client.look(job)["status"] == "running" for job in jobs) < RUNNING:
                time.sleep(0.01)
            yield server, client, jobs
    finally:
        server.stop()


def end(server: RealServer) -> float:
    """SIGTERM, under clients whose jobs are all refused; the seconds until it ended well."""
    assert server.process is not None
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)  # a request that was on its way may still be taken
    ending = Ending(server)
    ending.start()
    code = server.process.wait(40)
    seconds = time.monotonic() - began
    ending.join()
    show(Drain(seconds=round(seconds, 2), exit_code=code, refused=ending.refused, answers=ending.answers))
    assert code == 0
    assert ending.refused + len(ending.answers) > 5
    assert all(status == 503 and int(retry or 0) >= 1 for status, retry in ending.answers)
    return seconds


def after(folder: Path, jobs: list[str]) -> list[dict[str, Any]]:
    """The jobs when the next server has done what was left; there are no others."""
    server = RealServer(folder)
    server.start()
    try:
        with Client(base_url=server.url, timeout=30) as client:
            assert len(client.get("/v1/jobs").json()["jobs"]) == len(jobs)
            return [client.until_done(job) for job in jobs]
    finally:
        assert server.stop() == 0


def test_what_runs_is_finished(tmp_path: Path) -> None:
    with loaded(tmp_path, steps=60, dummy_step_s=0.03) as (server, _, jobs):
        assert end(server) < 30
    done = after(tmp_path, jobs)
    assert [job["status"] for job in done] == ["succeeded"] * len(jobs)
    assert [job["attempts"] for job in done] == [1] * len(jobs)
    assert [job["report"]["batch"] for job in done[:RUNNING]] == [RUNNING] * RUNNING  # by the first server


@pytest.mark.slow
def test_what_does_not_end_in_time_waits_for_the_next_start(tmp_path: Path) -> None:
    with loaded(tmp_path, steps=100, dummy_step_s=0.3, drain_s=1) as (server, _, jobs):
        assert 1 <= end(server) < 10
    done = after(tmp_path, jobs)
    assert [(job["status"], job["attempts"]) for job in done] == [("succeeded", 1)] * len(jobs)


@pytest.mark.slow
def test_clients_that_stay_do_not_keep_it(tmp_path: Path) -> None:
    with loaded(tmp_path, steps=60, dummy_step_s=0.03) as (server, client, jobs):
        seen: list[dict[str, Any]] = []
        follower = threading.Thread(target=_follow, args=(client, jobs[0], seen))
        waiter = threading.Thread(target=_follow, args=(client, jobs[-1], []))
        follower.start()
        waiter.start()
        assert end(server) < 30
        follower.join()
        waiter.join()
    assert seen[-1]["data"]["status"] == "succeeded"


def _follow(client: Client, job: str, seen: list[dict[str, Any]]) -> None:
    with suppress(httpx.TransportError):
        seen.extend(client.events(job))
