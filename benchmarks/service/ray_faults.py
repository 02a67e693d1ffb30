"""Kills a replica, the head node and the database's connections of a Ray cluster in turn, under load, and counts.

    python benchmarks/service/ray_faults.py --times 2

Recovery: of a replica, until all jobs that it had have ended, and until there are as many replicas as before; of the
head, until the service takes jobs again, by itself; of the database, until it takes jobs again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from database import DatabaseServer
from kill9 import Load, Tally, count
from ray_server import RayServer, answers, ray_running, seconds_until

_BETWEEN_S = 3.0


@dataclass
class Recovery:
    """Seconds, one for each time."""

    start_s: float
    replica_jobs_s: list[float] = field(default_factory=list)
    replica_jobs: list[int] = field(default_factory=list)  # that it had
    replica_s: list[float] = field(default_factory=list)
    head_s: list[float] = field(default_factory=list)
    connections_s: list[float] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)  # that were cut
    database_s: list[float] = field(default_factory=list)


class Faults:
    """What is done to a cluster."""

    def __init__(self, server: RayServer, database: DatabaseServer, store: str, seen: Recovery) -> None:
        self._server, self._database, self._seen = server, database, seen
        self._engine = sa.create_engine(sa.make_url(store).set(drivername="postgresql+psycopg"), pool_pre_ping=True)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def replica(self) -> None:
        """Kill an engine replica that has jobs."""
        before = self._server.replicas()
        busy: dict[int, list[str]] = {}
        seconds_until(lambda: bool(busy.update(self._held(before)) or busy))
        pid, jobs = max(busy.items(), key=lambda one: len(one[1]))
        psutil.Process(pid).kill()
        self._seen.replica_jobs.append(len(jobs))
        self._seen.replica_jobs_s.append(seconds_until(lambda: self._have_ended(jobs)))
        again = seconds_until(lambda: self._ready() and len(self._server.replicas()) >= len(before))
        self._seen.replica_s.append(self._seen.replica_jobs_s[-1] + again)

    def head(self) -> None:
        """Kill the cluster's own processes."""
        for one in self._server.head():
            one.kill()
        seconds_until(lambda: not self._ready())
        self._seen.head_s.append(seconds_until(self._ready))

    def connections(self) -> None:
        """Have the database cut all connections."""
        cut = sa.text("select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid()")
        with self._engine.connect() as connection:
            self._seen.connections.append(int(connection.scalar(cut) or 0))
        self._seen.connections_s.append(seconds_until(self._ready))

    def database(self) -> None:
        """Stop the database for two seconds."""
        self._database.stop()
        time.sleep(2)
        self._database.start()
        self._seen.database_s.append(seconds_until(self._ready))

    def _ready(self) -> bool:
        return answers(self._server.url)

    def _held(self, replicas: list[psutil.Process]) -> dict[int, list[str]]:
        """Jobs by the process of the replica that has them: its number is in its name."""
        asked = sa.text("select id, leased_by from jobs where leased_by is not null and finished_at is null")
        with self._engine.connect() as connection:
            rows = connection.execute(asked).all()
        found = {one.pid: [row.id for row in rows if f"-{one.pid}-" in row.leased_by] for one in replicas}
        return {pid: jobs for pid, jobs in found.items() if jobs}

    def _have_ended(self, jobs: list[str]) -> bool:
        asked = sa.text("select count(*) from jobs where id = any(:jobs) and finished_at is null")
        with self._engine.connect() as connection:
            return connection.scalar(asked, {"jobs": jobs}) == 0


def run(folder: Path, *, times: int, replicas: int, clients: int, **settings: Any) -> tuple[Recovery, Tally]:
    """Do all of it so many times under load."""
    tally = Tally()
    ray = {"min_replicas": replicas, "max_replicas": replicas}
    with ExitStack() as stack:
        server, database, start_s = stack.enter_context(ray_running(folder, ray=ray, **settings))
        seen = Recovery(start_s=start_s)
        faults = stack.enter_context(closing(Faults(server, database, server.store, seen)))
        loads = [Load([server.url], f"client {index}") for index in range(clients)]
        for load in loads:
            load.start()
        ways: tuple[Callable[[], None], ...] = (faults.replica, faults.head, faults.connections, faults.database)
        for way in ways * times:
            time.sleep(_BETWEEN_S)
            way()
            tally.kills += 1
        time.sleep(_BETWEEN_S)
        for load in loads:
            load.stopping.set()
            load.join()
        count(tally, server.url, loads)
    return seen, tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--engine", default="dummy", help="or skipstep, with the demo model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        seen, tally = run(
            Path(name),
            times=arguments.times,
            replicas=arguments.replicas,
            clients=arguments.clients,
            engine=arguments.engine,
            dummy_step_s=0.05,
        )
    print(json.dumps({"recovery": asdict(seen), "jobs": asdict(tally)}, indent=2))
    sys.exit(1 if tally.lost or tally.duplicated or tally.wrong else 0)


if __name__ == "__main__":
    main()
