"""Order, estimates, and batches that cannot be begun or break down."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any

import pytest
from conftest import Serve
from skipstep_service import opening
from skipstep_service.engines.dummy import DummyEngine, DummyRows
from skipstep_service.engines.protocol import Task
from skipstep_service.work.estimates import Estimates


class Faulty(DummyEngine):
    """Cannot begin a batch of pictures 64 wide, and breaks down in one of pictures 128 wide."""

    def open(self, key: Hashable) -> DummyRows:
        assert isinstance(key, tuple)
        if key[1] == 64:
            raise FileNotFoundError("the LoRA has gone")
        rows = super().open(key)
        if key[1] == 128:

            def step() -> None:
                raise RuntimeError("the device is on fire")

            rows.step = step  # type: ignore[method-assign]
        return rows


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "DummyEngine", Faulty)


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("width", [64, 128])
def test_a_batch_that_cannot_run_fails_its_jobs_alone(serve: Serve, width: int) -> None:
    with serve(dummy_step_s=0.002) as client:
        bad = [client.job(width=width, seed=seed)["id"] for seed in range(3)]
        good = client.job()["id"]
        for job in bad:
            ended = client.until_done(job)
            assert (ended["status"], ended["error"]["code"]) == ("failed", "internal")
        assert client.until_done(good)["status"] == "succeeded"
        assert client.get("/readyz").status_code == 200


def task(kind: str, work: float) -> Task:
    return Task(key=None, run=None, kind=kind, work=work)


def test_estimates_follow_the_work_of_each_kind() -> None:
    estimates = Estimates()
    unknown = estimates.seconds([task("a", 10)])
    estimates.note([task("a", 10)], 4.0, rows=1)
    assert estimates.seconds([task("a", 5), task("a", 20)]) == pytest.approx(10.0)
    assert estimates.seconds([task("b", 1000)]) == unknown
    estimates.note([task("b", 10), task("b", 10)], 4.0, rows=4)  # two others shared the passes
    assert estimates.seconds([task("b", 10)]) == pytest.approx(1.0)


def test_position_and_eta(serve: Serve) -> None:
    with serve(dummy_step_s=0.02, max_rows=1) as client:
        first = client.until_done(client.job(steps=10)["id"])
        step_s = first["report"]["run_ms"] / 1000 / 10  # 0.02 s, and more on a busy machine
        jobs = [client.job(steps=steps)["id"] for steps in (50, 20, 40)]
        waiting = [client.look(job) for job in jobs[1:]]
        assert [job["position"] for job in waiting] == [0, 1]
        assert waiting[0]["eta_s"] == pytest.approx(20 * step_s, rel=0.02)
        assert waiting[1]["eta_s"] == pytest.approx(60 * step_s, rel=0.02)
        urgent = client.job(priority="interactive")["id"]
        assert client.look(urgent)["position"] == 0
        assert client.look(jobs[1])["position"] == 1
        done: dict[str, Any] = {job: client.until_done(job) for job in [*jobs, urgent]}
        assert done[urgent]["finished_at"] < done[jobs[1]]["finished_at"] < done[jobs[2]]["finished_at"]


def test_what_waits_long_goes_first(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipstep_service.work.queue.AGEING_S", 0.2)
    with serve(dummy_step_s=0.02, max_rows=1) as client:
        client.job(steps=40)
        old = client.job(priority="batch")["id"]
        time.sleep(0.5)  # two classes
        young = client.job(priority="normal")["id"]
        assert client.look(young)["position"] == 1
        assert client.until_done(old)["finished_at"] < client.until_done(young)["finished_at"]
