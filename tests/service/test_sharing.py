"""Servers that share a PostgreSQL store: any of them answers for every job."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from database import DatabaseServer, database_server
from fastapi import FastAPI
from real_server import RealServer
from served import IMAGE, Client, serving
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.opening import Opened, open_service
from skipstep_service.ray_serve.dispatching import Dispatcher
from skipstep_service.service import JobService
from skipstep_service.settings import Settings
from skipstep_service.store.job_store import JobRow

QUICK: dict[str, Any] = {"lease_s": 1.5, "heartbeat_s": 0.3, "poll_s": 0.1, "dummy_step_s": 0.02}


@pytest.fixture(scope="module")
def postgresql() -> Iterator[DatabaseServer]:
    with database_server() as server:
        yield server


@contextmanager
def two(folder: Path, store: str, **settings: Any) -> Iterator[tuple[Client, Client]]:
    """Clients of two servers."""
    options = {**QUICK, "store": store, **settings}
    with serving(folder, **options) as one, serving(folder, **options) as other:
        yield one, other


def test_every_server_tells_what_happens_to_a_job(postgresql: DatabaseServer, tmp_path: Path) -> None:
    with two(tmp_path, postgresql.database()) as (one, other):
        job = one.job(steps=40, previews=True)["id"]
        there = list(other.events(job))
        here = list(one.events(job))
        assert [event["id"] for event in there] == [event["id"] for event in here]
        assert there == here
        assert {"status", "progress", "preview", "output"} == {event["event"] for event in there}
        assert there[-1]["data"]["status"] == "succeeded"
        behind = list(other.events(job, after=there[5]["id"]))
        assert behind == there[6:]
        done = other.look(job)
        assert other.get(done["outputs"][0]["url"]).content == dummy_bytes(IMAGE["prompt"], IMAGE["seed"])


@pytest.mark.parametrize("runs", [True, False])
def test_every_server_cancels(postgresql: DatabaseServer, tmp_path: Path, runs: bool) -> None:
    with two(tmp_path, postgresql.database(), max_rows=1) as (one, other):
        first = one.job(steps=120)["id"]
        second = one.job(steps=120)["id"]
        while one.look(first)["status"] != "running":
            time.sleep(0.01)
        wanted, kept = (first, second) if runs else (second, first)
        assert other.post(f"/v1/jobs/{wanted}/cancel").json()["status"] in ("canceling", "canceled")
        assert one.until_done(wanted)["status"] == "canceled"
        assert [event["data"].get("status") for event in one.events(wanted)][-1] == "canceled"
        assert one.until_done(kept)["status"] == "succeeded"


def test_a_request_waits_for_a_job_of_another_server(postgresql: DatabaseServer, tmp_path: Path) -> None:
    with two(tmp_path, postgresql.database()) as (one, other):
        body, headers = {"prompt": "a red apple", "seed": 3}, {"Idempotency-Key": "one"}
        made: list[httpx.Response] = []
        asking = [
            threading.Thread(
                target=lambda client=client: made.append(
                    client.post("/v1/images/generations", json=body, headers=headers)
                )
            )
            for client in (one, other)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert [answer.status_code for answer in made] == [200, 200]
        assert made[0].json()["data"] == made[1].json()["data"]
        assert len(one.get("/v1/jobs").json()["jobs"]) == 1


def test_one_server_takes_over_what_another_leaves(postgresql: DatabaseServer, tmp_path: Path) -> None:
    store = postgresql.database()
    options = {**QUICK, "store": store, "max_rows": 1, "lease_s": 60, "heartbeat_s": 20, "drain_s": 0.2}
    with serving(tmp_path, **options) as other:
        with serving(tmp_path, **options) as one:
            jobs = [one.job(steps=60, seed=seed)["id"] for seed in range(3)]
            while one.look(jobs[0])["status"] != "running":
                time.sleep(0.01)
        done = [other.until_done(job, timeout_s=20) for job in jobs]  # long before a lease runs out
        assert {job["status"] for job in done} == {"succeeded"}
        assert {job["attempts"] for job in done} == {1}  # an orderly end is no crash


@pytest.mark.timeout(120)
def test_a_server_that_slept_has_lost_its_jobs(postgresql: DatabaseServer, tmp_path: Path) -> None:
    settings = {**QUICK, "store": postgresql.database(), "results": tmp_path / "results", "dummy_step_s": 0.05}
    servers = [RealServer(folder, **settings) for folder in (tmp_path / "one", tmp_path / "other")]
    try:
        for server in servers:
            server.folder.mkdir()
            server.start()
        one, other = (Client(base_url=server.url, timeout=30) for server in servers)
        with one, other:
            job = one.job(steps=40)["id"]
            while one.look(job)["status"] != "running":
                time.sleep(0.01)
            asleep = servers[0].application()
            asleep.send_signal(signal.SIGSTOP)
            done = other.until_done(job)
            asleep.send_signal(signal.SIGCONT)
            assert (done["status"], done["attempts"]) == ("succeeded", 2)
            time.sleep(2.5)  # in which the sleeper would have come to its end, too
            assert one.look(job) == done
            assert one.until_done(one.job(steps=3)["id"])["status"] == "succeeded"
    finally:
        for server in servers:
            server.stop()


class Engines:
    """An engine server behind an ingress, in this process."""

    def __init__(self, service: JobService) -> None:
        self.service = service
        self.keys: list[str] = []

    async def run(self, row: JobRow, key: str) -> bool:
        self.keys.append(key)
        if not await self.service.take(row.id):
            return False
        await self.service.ended(row.id)
        return True


@contextmanager
def split(folder: Path, store: str, **settings: Any) -> Iterator[tuple[Client, Engines, JobService]]:
    """An ingress without an engine, and an engine without HTTP."""
    options = {**QUICK, "store": store, **settings}
    engine = open_service(
        Settings(engine="dummy", results=str(folder / "results"), **options),
        on_event=(),
        on_question=lambda *_: None,
    ).service
    engine.start()
    engines, ingress = Engines(engine), []

    def opens(settings: Settings, app: FastAPI, loop: asyncio.AbstractEventLoop) -> Opened:
        opened = open_service(
            settings, on_event=(app.state.metrics.on_event,), on_question=lambda *_: None, accepts_only=True
        )
        service = opened.service
        service.hand_over = Dispatcher(engines, service.store, loop, on_end=service.heard).hand_over
        ingress.append(service)
        return opened

    try:
        with serving(folder, opens=opens, **options) as client:
            yield client, engines, ingress[0]
    finally:
        engine.drain(1)


def test_an_ingress_has_engines_run_its_jobs(postgresql: DatabaseServer, tmp_path: Path) -> None:
    with split(tmp_path, postgresql.database()) as (client, engines, _):
        job = client.job(steps=20)
        seen = [event["event"] for event in client.events(job["id"])]
        assert seen.count("progress") == 20
        assert client.until_done(job["id"])["status"] == "succeeded"
        client.until_done(client.job(width=512, height=512)["id"])
        client.until_done(client.job(steps=4)["id"])
        assert engines.keys[0] == engines.keys[2] != engines.keys[1]
        drawn = client.post("/v1/images/generations", json={"prompt": "x", "seed": 1})
        assert drawn.status_code == 200
        assert client.get("/metrics").status_code == 200


def test_an_ingress_counts_what_waits_everywhere(postgresql: DatabaseServer, tmp_path: Path) -> None:
    with split(tmp_path, postgresql.database(), max_queue=2, max_rows=1) as (client, _, _):
        answers = [client.post("/v1/jobs", json={**IMAGE, "steps": 100}) for _ in range(3)]
        time.sleep(0.6)
        answers.append(client.post("/v1/jobs", json=IMAGE))
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert "Retry-After" in answers[-1].headers


def test_a_client_that_leaves_an_ingress_ends_its_job(postgresql: DatabaseServer, tmp_path: Path) -> None:
    with split(tmp_path, postgresql.database(), dummy_step_s=0.1) as (client, _, _):
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/images/generations", json={"prompt": "x"}, timeout=0.3)
        (job,) = client.get("/v1/jobs").json()["jobs"]
        assert client.until_done(job["id"])["status"] == "canceled"


def test_readiness_of_an_ingress_is_that_of_its_engines(postgresql: DatabaseServer, tmp_path: Path) -> None:
    with split(tmp_path, postgresql.database()) as (client, _, ingress):
        assert client.get("/readyz").status_code == 200
        ingress.engines_problem = lambda: "no engine replica is ready"
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "no engine replica is ready")


def test_a_lease_shorter_than_two_heartbeats_is_refused() -> None:
    with pytest.raises(ValueError, match="lease_s must be 20 \\(twice heartbeat_s\\) or more, got 15"):
        Settings(lease_s=15)
