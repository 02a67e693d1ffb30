"""What a server keeps of jobs that have ended has a bound."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import soak
from conftest import Serve
from real_server import show
from skipstep_service.jobs.events import Event
from skipstep_service.jobs.live import LiveJob
from skipstep_service.jobs.live_jobs import LiveJobs
from skipstep_service.store.job_store import JobRow


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_left_of_many_jobs(tmp_path: Path) -> None:
    seen = soak.run(tmp_path, jobs=300, warm_up=200)
    show(seen)
    assert seen.is_good, seen
    assert seen.left_early > 20
    assert {"succeeded", "canceled", "left"} == set(seen.ended)


def job(name: str, *, is_ended: bool = True) -> LiveJob:
    nothing: dict[str, Any] = {"kind": "image", "status": "queued", "owner": "", "priority": 1, "request": {}}
    nothing |= dict.fromkeys(("result", "error", "idempotency_key", "started_at", "finished_at"))
    row = JobRow(id=name, **nothing, attempts=0, request_sha256="", created_at=0.0, deadline_at=0.0)
    made = LiveJob(row)
    made.tell("status", status="queued")
    if is_ended:
        made.tell("preview", data="x" * 100_000)
        made.tell("status", status="succeeded")
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_jobs_that_ended_are_forgotten_after_a_while(clock: list[float]) -> None:
    jobs = LiveJobs(ttl_s=10, max_bytes=10**9)
    jobs.add(job("old"))
    jobs.add(job("waiting", is_ended=False))
    clock[0] += 9
    jobs.add(job("new"))
    assert jobs.get("old") is not None
    clock[0] += 2
    jobs.add(job("newest"))
    assert [name for name in ("old", "waiting", "new", "newest") if jobs.get(name)] == ["waiting", "new", "newest"]


def test_the_oldest_are_forgotten_where_they_take_too_much(clock: list[float]) -> None:
    jobs = LiveJobs(ttl_s=10**6, max_bytes=500_000)
    jobs.add(job("waiting", is_ended=False))
    for number in range(20):
        clock[0] += 2
        jobs.add(job(f"job {number}"))
    kept = [number for number in range(20) if jobs.get(f"job {number}")]
    assert kept == [15, 16, 17, 18, 19]  # four of about 110 kB, and the one that came after the look
    assert jobs.get("waiting") is not None


def test_events_of_one_job_have_a_bound() -> None:
    one = job("long", is_ended=False)
    for step in range(2000):
        one.tell("preview", data="x" * 100_000, step=step)
    kept = one.events_after(None)
    assert sum(event.bytes for event in kept) <= 8 * 2**20
    assert kept[-1].number == 2000
    assert [event.number for event in kept] == list(range(2001 - len(kept), 2001))  # the latest, without gaps


def test_followers_are_counted_and_leave() -> None:
    one = job("followed", is_ended=False)
    jobs = LiveJobs()
    jobs.add(one)

    async def follow() -> Event:
        events = one.follow(None)
        first = await anext(events)
        assert jobs.followers == 1
        await events.aclose()  # type: ignore[attr-defined]
        return first

    assert asyncio.run(follow()).data["status"] == "queued"
    assert jobs.followers == 0


def test_a_job_that_was_forgotten_still_tells_its_end(serve: Serve) -> None:
    with serve(events_ttl_s=0, events_max_bytes=0) as client:
        first = client.until_done(client.job(steps=3)["id"])["id"]
        ahead = [event["event"] for event in client.events(first)]
        assert ahead.count("progress") == 3
        while len(list(client.events(first))) > 1:
            client.until_done(client.job(steps=1)["id"])  # whoever is accepted has the old ones forgotten
        end = list(client.events(first))
        assert [(event["event"], event["data"]["status"]) for event in end] == [("status", "succeeded")]
