"""Many clients at once, each with jobs that it follows to the end; then one client, and how late progress comes.

python benchmarks/service/load.py --clients 200 --jobs 400
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from real_server import running, show


@dataclass
class Crowd:
    """What many clients saw."""

    clients: int = 0
    jobs: int = 0
    succeeded: int = 0
    events: int = 0
    gaps: int = 0
    refused: int = 0
    refused_without_a_time: int = 0
    other_answers: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass
class Lateness:
    """Milliseconds from a pass to its event in the client."""

    events: int
    p50_ms: float
    p99_ms: float


async def events(client: httpx.AsyncClient, job: str) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """Id, kind and data of each event of a job."""
    async with client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        answer.raise_for_status()
        event: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if not line:
                if "data" in event:
                    yield event["id"], event["event"], json.loads(event["data"])
                event = {}
            elif not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value


async def one_job(client: httpx.AsyncClient, crowd: Crowd, number: int) -> None:
    body = {"kind": "image", "prompt": f"job {number}", "seed": number, "steps": 20}
    while True:
        answer = await client.post("/v1/jobs", json=body)
        if answer.status_code == 202:
            break
        if answer.status_code != 429:
            crowd.other_answers[answer.status_code] += 1
            return
        crowd.refused += 1
        after = answer.headers.get("Retry-After", "")
        crowd.refused_without_a_time += not (after.isdigit() and int(after) >= 1)
        await asyncio.sleep(float(after or 1))
    crowd.jobs += 1
    expected = (0, 0)
    async for text, kind, data in events(client, answer.json()["id"]):
        attempt, number_of_event = map(int, text.split("-"))
        crowd.gaps += (attempt, number_of_event) not in (expected, (expected[0] + 1, 0))
        expected = attempt, number_of_event + 1
        crowd.events += 1
        crowd.succeeded += kind == "status" and data["status"] == "succeeded"


async def come_all(url: str, *, clients: int, jobs: int) -> Crowd:
    """So many clients share so many jobs."""
    crowd, numbers, started = Crowd(clients=clients), iter(range(jobs)), time.monotonic()

    async def visit() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as client:
            for number in numbers:
                await one_job(client, crowd, number)

    await asyncio.gather(*(visit() for _ in range(clients)))
    crowd.seconds = round(time.monotonic() - started, 2)
    return crowd


async def lateness(url: str, *, steps: int = 300) -> Lateness:
    """Of the progress of one job, in the only client."""
    late = []
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        body = {"kind": "image", "prompt": "x", "steps": steps}
        job = (await client.post("/v1/jobs", json=body)).raise_for_status().json()["id"]
        async for _, kind, data in events(client, job):
            if kind == "progress":
                late.append((time.time() - data["at"]) * 1000)
    behind = late[5:]  # those before the client listened come at once
    return Lateness(len(behind), round(statistics.median(behind), 3), round(statistics.quantiles(behind, n=100)[98], 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        with running(Path(name), dummy_step_s=0.002) as server:
            crowd = asyncio.run(come_all(server.url, clients=arguments.clients, jobs=arguments.jobs))
        with running(Path(name), dummy_step_s=0.02) as server:
            late = asyncio.run(lateness(server.url))
    show(crowd, late)
    is_well = crowd.succeeded == crowd.jobs == arguments.jobs and not (
        crowd.gaps or crowd.refused_without_a_time or crowd.other_answers
    )
    sys.exit(0 if is_well and late.p50_ms <= 5 else 1)


if __name__ == "__main__":
    main()
