"""Jobs that were accepted are handed over until they have ended, whatever becomes of replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from skipstep_service.jobs.accepting import new_row
from skipstep_service.jobs.bodies import ImageJob
from skipstep_service.jobs.states import SUCCEEDED
from skipstep_service.ray_serve import dispatching
from skipstep_service.ray_serve.dispatching import Dispatcher, text_of
from skipstep_service.store.database import open_database
from skipstep_service.store.job_store import JobRow, JobStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.db'}"))
    yield store
    store.close()


@pytest.fixture
def row(store: JobStore) -> JobRow:
    body = ImageJob(kind="image", prompt="a red apple")
    made, _ = new_row(body, owner="", model="demo", timeout_s=60, idempotency_key=None)
    return store.accept(made).result()[0]


class Replicas:
    """Fails, or says that another has the job, as it is told to; then that another has it."""

    def __init__(self, *outcomes: bool | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[tuple[str, str]] = []

    async def run(self, row: JobRow, key: str) -> bool:
        self.asked.append((row.id, key))
        outcome = self.outcomes.pop(0) if self.outcomes else False
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def until_done(dispatcher: Dispatcher) -> None:
    while True:
        await asyncio.sleep(0)
        if not dispatcher.jobs:
            return


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "_AGAIN_S", 0.001)


def test_a_job_whose_replica_dies_is_handed_over_again(store: JobStore, row: JobRow) -> None:
    replicas = Replicas(RuntimeError("the actor died"), ConnectionError("unreachable"), True)

    async def work() -> None:
        dispatcher = Dispatcher(replicas, store, asyncio.get_running_loop())
        dispatcher.hand_over(row, ("key", 1))
        await asyncio.sleep(0.001)
        await until_done(dispatcher)

    asyncio.run(work())
    assert replicas.asked == [(row.id, text_of(("key", 1)))] * 3


def test_a_job_that_another_server_has_is_looked_after_until_it_has_ended(store: JobStore, row: JobRow) -> None:
    replicas = Replicas()

    async def work() -> None:
        dispatcher = Dispatcher(replicas, store, asyncio.get_running_loop())
        dispatcher.hand_over(row, "key")
        while len(replicas.asked) < 1:
            await asyncio.sleep(0)
        assert dispatcher.jobs == 1
        await asyncio.wrap_future(store.finish(row.id, SUCCEEDED, now=1.0))
        await until_done(dispatcher)

    asyncio.run(work())
    assert len(replicas.asked) >= 1


def test_a_job_that_is_gone_is_not_handed_over_for_ever(store: JobStore, row: JobRow) -> None:
    replicas = Replicas()

    async def work() -> None:
        dispatcher = Dispatcher(replicas, store, asyncio.get_running_loop())
        dispatcher.hand_over(replace(row, id="another"), "key")
        await asyncio.sleep(0.001)
        await until_done(dispatcher)

    asyncio.run(work())
    assert len(replicas.asked) == 1


def test_closing_leaves_jobs_to_others(store: JobStore, row: JobRow) -> None:
    async def work() -> None:
        never = asyncio.Event()

        class Silent:
            async def run(self, row: JobRow, key: str) -> bool:
                await never.wait()
                return True

        dispatcher = Dispatcher(Silent(), store, asyncio.get_running_loop())
        dispatcher.hand_over(row, "key")
        await asyncio.sleep(0.001)
        assert dispatcher.jobs == 1
        dispatcher.close()
        await until_done(dispatcher)

    asyncio.run(asyncio.wait_for(work(), 5))


def test_equal_keys_have_equal_texts_and_others_not() -> None:
    assert text_of(("a", 1, None)) == text_of(("a", 1, None))
    assert text_of(("a", 1, None)) != text_of(("a", 2, None))
