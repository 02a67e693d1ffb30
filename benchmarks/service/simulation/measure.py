"""Real services in this process, each with its own store and the engine that sleeps, behind our router."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from skipstep_service.engines.dummy import DummyEngine
from skipstep_service.jobs.ids import new_job_id
from skipstep_service.jobs.states import QUEUED
from skipstep_service.service import JobService
from skipstep_service.store.database import open_database
from skipstep_service.store.job_store import JobRow, JobStore
from skipstep_service.store.lock import StoreLock
from skipstep_service.store.results import ResultStore

from .check import Measured
from .router import Router

_DRAIN_S = 30.0


@contextmanager
def _service(folder: Path, *, step_s: float, max_rows: int) -> Iterator[tuple[JobService, DummyEngine]]:
    folder.mkdir()
    database = open_database(f"sqlite:///{folder / 'jobs.db'}", synchronous="NORMAL")
    lock = StoreLock(database)
    lock.acquire(_DRAIN_S)
    engine = DummyEngine(step_s=step_s)
    service = JobService(engine, JobStore(database), ResultStore(str(folder / "results")), lock, max_rows=max_rows)
    service.start()
    try:
        yield service, engine
    finally:
        service.drain(_DRAIN_S)


def measure(
    folder: Path,
    *,
    replicas: int,
    clients: int,
    jobs: int,
    steps: int,
    step_s: float,
    max_rows: int,
    mix: Sequence[float],
) -> Measured:
    """Let so many clients share so many jobs, each waiting for its job's end."""
    folder.mkdir()
    with ExitStack() as stack:
        services = [
            stack.enter_context(_service(folder / str(number), step_s=step_s, max_rows=max_rows))
            for number in range(replicas)
        ]
        router = Router(max_ongoing=2 * max_rows)
        for number in range(replicas):
            router.add(number)
        keys = random.Random(0).choices(range(len(mix)), weights=mix, k=jobs)
        began = time.monotonic()
        seconds = asyncio.run(_come_all(services, router, keys, clients=clients, steps=steps))
        lasted = time.monotonic() - began
    return Measured(
        replicas=replicas,
        clients=clients,
        jobs=jobs,
        steps=steps,
        step_s=step_s,
        max_rows=max_rows,
        pictures_per_s=jobs / lasted,
        median_s=statistics.median(seconds),
        p95_s=sorted(seconds)[math.ceil(0.95 * jobs) - 1],
    )


async def _come_all(
    services: Sequence[tuple[JobService, DummyEngine]],
    router: Router,
    keys: Sequence[int],
    *,
    clients: int,
    steps: int,
) -> list[float]:
    numbers, seconds, has_room = iter(enumerate(keys)), [], asyncio.Condition()

    async def visit() -> None:
        for number, key in numbers:
            began = time.monotonic()
            async with has_room:
                while (place := router.place(key)) is None:
                    await has_room.wait()
            await _one_job(*services[place], number=number, key=key, steps=steps)
            seconds.append(time.monotonic() - began)
            async with has_room:
                router.release(place)
                has_room.notify()

    await asyncio.gather(*(visit() for _ in range(clients)))
    return seconds


async def _one_job(service: JobService, engine: DummyEngine, *, number: int, key: int, steps: int) -> None:
    size = 512 + 8 * key  # sizes do not share batches
    request = {"prompt": f"job {number}", "seed": number, "steps": steps, "width": size, "height": size, "n": 1}
    row = _row(request)
    await service.accept(row, engine.tasks("image", request, {}), {})
    live = service.live(row.id)
    if live is not None:
        await live.end()
    status = service.get(row.id, owner=row.owner).status
    if status != "succeeded":
        raise RuntimeError(f"job {row.id} ended as {status}; a measurement needs all of them")


def _row(request: dict[str, object]) -> JobRow:
    now = time.time()
    return JobRow(
        id=new_job_id(),
        owner="measure",
        kind="image",
        status=QUEUED,
        priority=0,
        request=request,
        result=None,
        error=None,
        attempts=0,
        idempotency_key=None,
        request_sha256=hashlib.sha256(str(request["prompt"]).encode()).hexdigest(),
        created_at=now,
        deadline_at=now + 600,
        started_at=None,
        finished_at=None,
    )
