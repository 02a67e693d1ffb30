"""What a Ray cluster adds: pictures per second with more replicas, replicas that come and go, and what a request costs.

    python benchmarks/service/ray_scale.py --replicas 1 2 4 --json scale.json
    python benchmarks/service/ray_scale.py --autoscale
    python benchmarks/service/ray_scale.py --overhead

The engine sleeps where it would draw, so that replicas share two cores as they would not share a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa
from database import database_server
from ray_server import RayServer, ray_running, seconds_until
from real_server import RealServer, running, show
from simulation.check import Measured

SETTINGS: dict[str, Any] = {"engine": "dummy", "max_rows": 4}
LOOK_S = 0.03
IDLE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """Of a picture that takes no time, one after the other, at one server and on a cluster, with one database."""

    requests: int
    process_ms: float  # median
    process_cpu_ms: float
    ray_ms: float
    ray_cpu_ms: float  # beyond that of the idle cluster
    ray_idle_cores: float
    ray_accept_ms: float  # until a job is accepted, without waiting for it


class Clients:
    """So many, of one server, which look into its database for what is done: a request would take a core from it."""

    def __init__(self, server: RealServer, *, steps: int) -> None:
        self._http = httpx.Client(base_url=server.url, timeout=60)
        self._engine = sa.create_engine(sa.make_url(server.store).set(drivername="postgresql+psycopg"))
        self._steps = steps
        self._sent = 0

    def close(self) -> None:
        """Let go of both."""
        self._http.close()
        self._engine.dispose()

    def send(self) -> str:
        """A job; all are of one size, and can share a batch."""
        self._sent += 1
        body = {"kind": "image", "prompt": f"picture {self._sent}", "steps": self._steps}
        return str(self._http.post("/v1/jobs", json=body).raise_for_status().json()["id"])

    def done(self, jobs: set[str]) -> dict[str, float]:
        """Seconds of those that are done.

        Raises:
            RuntimeError: if one has not succeeded.
        """
        asked = sa.text(
            "select id, status, finished_at - created_at as seconds from jobs "
            "where id = any(:jobs) and finished_at is not null"
        )
        with self._engine.connect() as connection:
            found = connection.execute(asked, {"jobs": list(jobs)}).all()
        if any(row.status != "succeeded" for row in found):
            raise RuntimeError("a job did not succeed")
        return {row.id: row.seconds for row in found}


def measured(server: RealServer, *, replicas: int, clients: int, jobs: int, steps: int, step_s: float) -> Measured:
    """Closed clients send jobs, each the next when its last is done; a batch of theirs warms up."""
    with closing(Clients(server, steps=steps)) as load:
        for count in (clients, jobs):
            started, seconds = time.monotonic(), []
            waiting = {load.send() for _ in range(min(clients, count))}
            sent = len(waiting)
            while waiting:
                time.sleep(LOOK_S)
                for job, took in load.done(waiting).items():
                    waiting.remove(job)
                    seconds.append(took)
                    if sent < count:
                        waiting.add(load.send())
                        sent += 1
            elapsed = time.monotonic() - started
    return Measured(
        replicas=replicas,
        clients=clients,
        jobs=jobs,
        steps=steps,
        step_s=step_s,
        max_rows=SETTINGS["max_rows"],
        pictures_per_s=round(jobs / elapsed, 3),
        median_s=round(statistics.median(seconds), 3),
        p95_s=round(sorted(seconds)[int(0.95 * (len(seconds) - 1))], 3),
    )


@contextmanager
def cluster(*, least: int, most: int, step_s: float, **ray: Any) -> Iterator[RayServer]:
    """With a sleeping engine."""
    with (
        tempfile.TemporaryDirectory() as name,
        ray_running(
            Path(name), ray={"min_replicas": least, "max_replicas": most, **ray}, dummy_step_s=step_s, **SETTINGS
        ) as (server, _, _),
    ):
        yield server


def scale(replicas: list[int], *, step_s: float, steps: int, jobs: int) -> list[Measured]:
    """With each number of replicas, two batches of clients and so many jobs for each of them."""
    seen = []
    for count in replicas:
        with cluster(least=count, most=count, step_s=step_s) as server:
            clients = 2 * SETTINGS["max_rows"] * count
            seen.append(
                measured(server, replicas=count, clients=clients, jobs=jobs * count, steps=steps, step_s=step_s)
            )
        print(json.dumps(asdict(seen[-1])), flush=True)
    return seen


def autoscale(*, step_s: float) -> list[tuple[float, int]]:
    """The replicas over time: of one that has too much to do, and then nothing."""
    seen: list[tuple[float, int]] = []
    ray = {"target_ongoing": 2, "upscale_delay_s": 2, "downscale_delay_s": 5}
    with cluster(least=1, most=3, step_s=step_s, **ray) as server, closing(Clients(server, steps=30)) as load:
        started = time.monotonic()

        def note() -> int:
            count = len(server.replicas())
            if not seen or seen[-1][1] != count:
                seen.append((round(time.monotonic() - started, 1), count))
            return count

        note()
        waiting = {load.send() for _ in range(40)}
        seconds_until(lambda: note() == 3)
        seconds_until(lambda: len(load.done(waiting)) == len(waiting), timeout_s=300)
        seen.append((round(time.monotonic() - started, 1), note()))
        seconds_until(lambda: note() == 1, timeout_s=180)
    return seen


def overhead(requests: int) -> Overhead:
    """Interleaved: a server of one process and a cluster, each with a database."""
    with tempfile.TemporaryDirectory() as folder, database_server() as database:
        plain = running(Path(folder), store=database.database(), **SETTINGS)
        with plain as process, cluster(least=1, most=1, step_s=0.0) as ray:
            times: dict[str, list[float]] = {"process": [], "ray": []}
            used = {"process": 0.0, "ray": 0.0}
            for index in range(requests + 5):
                for name, server in (
                    (("process", process), ("ray", ray)) if index % 2 else (("ray", ray), ("process", process))
                ):
                    cpu, began = _cpu_s(server), time.perf_counter()
                    _draw(server.url)
                    took = time.perf_counter() - began
                    if index >= 5:
                        times[name].append(took)
                        used[name] += _spent_s(cpu, _cpu_s(server))
            cpu, began = _cpu_s(ray), time.perf_counter()
            time.sleep(IDLE_S)
            idle = _spent_s(cpu, _cpu_s(ray)) / (time.perf_counter() - began)
            accepts = []
            with closing(Clients(ray, steps=1)) as load:
                for _ in range(requests):
                    began = time.perf_counter()
                    load.send()
                    accepts.append(time.perf_counter() - began)
    median = {name: round(1000 * statistics.median(found), 1) for name, found in times.items()}
    return Overhead(
        requests=requests,
        process_ms=median["process"],
        process_cpu_ms=round(1000 * used["process"] / requests, 1),
        ray_ms=median["ray"],
        ray_cpu_ms=round(1000 * (used["ray"] - idle * sum(times["ray"])) / requests, 1),
        ray_idle_cores=round(idle, 3),
        ray_accept_ms=round(1000 * statistics.median(accepts), 1),
    )


def _draw(url: str) -> None:
    httpx.post(f"{url}/v1/images/generations", json={"prompt": "x"}, timeout=60).raise_for_status()


def _cpu_s(server: RealServer) -> Counter[int]:
    """Of each of its processes."""
    assert server.process is not None
    used: Counter[int] = Counter()
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            times = one.cpu_times()
            used[one.pid] = round(1e6 * (times.user + times.system))
    return used


def _spent_s(before: Counter[int], after: Counter[int]) -> float:
    """By processes that were there all the time."""
    return sum(after[pid] - before[pid] for pid in before if pid in after) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--jobs", type=int, default=40, help="for each replica")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--step-s", type=float, default=0.2)
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    parser.add_argument("--autoscale", action="store_true")
    parser.add_argument("--overhead", action="store_true")
    arguments = parser.parse_args()
    if arguments.autoscale:
        for seconds, count in autoscale(step_s=arguments.step_s):
            print(f"{seconds:6.1f} s  {count} replicas")
        return
    if arguments.overhead:
        show(overhead(40))
        return
    seen = scale(arguments.replicas, step_s=arguments.step_s, steps=arguments.steps, jobs=arguments.jobs)
    for one in seen[1:]:
        print(f"{seen[0].replicas} to {one.replicas} replicas: {one.pictures_per_s / seen[0].pictures_per_s:.2f} x")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(one) for one in seen], indent=2) + "\n")


if __name__ == "__main__":
    main()
