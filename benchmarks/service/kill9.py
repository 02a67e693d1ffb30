"""Kills a server again and again while clients load it, and counts what became of the jobs that it had accepted.

python benchmarks/service/kill9.py --times 20
python benchmarks/service/kill9.py --times 20 --postgresql --servers 3
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import sqlalchemy as sa
from real_server import RealServer
from skipstep_service.engines.dummy import dummy_bytes

READY_S = 30.0
DONE_S = 120.0
TERMINAL = ("succeeded", "failed", "expired", "canceled")


@dataclass
class Tally:
    """What was seen."""

    kills: int = 0
    accepted: int = 0
    succeeded: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    unfinished_files: int = 0
    slowest_restart_s: float = 0.0
    taken_over: int = 0  # jobs of a killed server, by others
    slowest_take_over_s: float = 0.0
    attempts: dict[int, int] = field(default_factory=dict)
    integrity: str = "ok"


class Victim(RealServer):
    """A server of one process, started anew after each kill; one that is alone has a name, and takes its jobs up."""

    def __init__(self, folder: Path, *, store: str, step_s: float, is_alone: bool = True) -> None:
        shared = {"server_id": "victim"} if is_alone else {"lease_s": 3, "heartbeat_s": 1, "poll_s": 0.25}
        options = {"dummy_step_s": step_s, "max_queue": 1000, "synchronous": "FULL", **shared}
        super().__init__(folder, store=store, **options)

    def revive(self) -> float:
        """Start it; the seconds until it took jobs."""
        line = [sys.executable, "-m", "uvicorn", "skipstep_service.serve:factory", "--factory"]
        started = time.monotonic()
        self.start([*line, "--port", str(self.port), "--log-level", "warning"], ready_s=READY_S)
        return time.monotonic() - started

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class Load(threading.Thread):
    """A client that sends jobs, each with an Idempotency-Key, and again until it knows that it was accepted."""

    def __init__(self, urls: Sequence[str], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.accepted: dict[str, tuple[str, int]] = {}  # prompt and seed by job
        self.duplicated = 0
        self.stopping = threading.Event()
        self._urls = urls

    def run(self) -> None:
        chance, number = random.Random(self.name), 0
        with httpx.Client(timeout=10) as client:
            while not self.stopping.is_set():
                number += 1
                prompt, seed = f"{self.name} {number}", chance.randrange(2**32)
                body = {"kind": "image", "prompt": prompt, "seed": seed, "steps": chance.randint(1, 20)}
                ids = set()
                while not self.stopping.is_set():
                    try:
                        headers = {"Idempotency-Key": f"{self.name}-{number}"}
                        url = chance.choice(self._urls)
                        answer = client.post(f"{url}/v1/jobs", json=body, headers=headers)
                    except httpx.TransportError:
                        time.sleep(0.05)
                        continue
                    if answer.status_code == 202:
                        ids.add(answer.json()["id"])
                        break
                    time.sleep(0.05)
                for job in ids:
                    self.accepted[job] = (prompt, seed)
                self.duplicated += max(0, len(ids) - 1)


def run(
    *, times: int, folder: Path, store: str, step_s: float = 0.005, clients: int = 4, seed: int = 0, servers: int = 1
) -> Tally:
    """Kill a server so many times under load; of several, one and then another."""
    tally, chance = Tally(), random.Random(seed)
    all_of = [Victim(folder, store=store, step_s=step_s, is_alone=servers == 1) for _ in range(servers)]
    for server in all_of:
        server.revive()
    loads = [Load([server.url for server in all_of], f"client {index}") for index in range(clients)]
    for load in loads:
        load.start()
    for _ in range(times):
        time.sleep(chance.uniform(0.2, 1.5))
        server = chance.choice(all_of)
        server.kill()
        tally.kills += 1
        if servers > 1:
            _take_over(tally, server, store)
        tally.slowest_restart_s = max(tally.slowest_restart_s, server.revive())
    time.sleep(0.5)
    for load in loads:
        load.stopping.set()
        load.join()
    count(tally, all_of[0].url, loads)
    for server in all_of:
        server.kill()
    tally.unfinished_files = sum(1 for path in (folder / "results").rglob("*.unfinished") if path.is_file())
    if store.startswith("sqlite:///"):
        with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
            tally.integrity = database.execute("pragma integrity_check").fetchone()[0]
    return tally


def _take_over(tally: Tally, server: Victim, store: str) -> None:
    """Wait until others have what a killed server had."""
    assert server.process is not None
    engine = sa.create_engine(sa.make_url(store).set(drivername="postgresql+psycopg"))
    asked = sa.text("select count(*) from jobs where leased_by like :server and finished_at is null")
    started, had = time.monotonic(), None
    while True:
        with engine.connect() as connection:
            left = int(connection.scalar(asked, {"server": f"%-{server.process.pid}-%"}) or 0)
        had = left if had is None else had
        if not left:
            break
        time.sleep(0.02)
    engine.dispose()
    tally.taken_over += had
    tally.slowest_take_over_s = max(tally.slowest_take_over_s, time.monotonic() - started)


def count(tally: Tally, url: str, loads: Sequence[Load]) -> None:
    """Wait for the jobs that were accepted, and see what became of each."""
    accepted = {job: what for load in loads for job, what in load.accepted.items()}
    tally.accepted = len(accepted)
    tally.duplicated = sum(load.duplicated + len(load.accepted) for load in loads) - len(accepted)
    end = time.monotonic() + DONE_S
    with httpx.Client(base_url=url, timeout=30) as client:
        for job, (prompt, seed) in accepted.items():
            while True:
                answer = client.get(f"/v1/jobs/{job}")
                row = answer.json()
                if answer.status_code != 200 or row["status"] in TERMINAL or time.monotonic() > end:
                    break
                time.sleep(0.02)
            if answer.status_code != 200 or row["status"] != "succeeded":
                tally.lost += 1
                continue
            tally.succeeded += 1
            tally.attempts[row["attempts"]] = tally.attempts.get(row["attempts"], 0) + 1
            file = client.get(row["outputs"][0]["url"])
            tally.wrong += file.content != dummy_bytes(prompt, seed)
        seen, after = [], None
        while True:
            page = client.get("/v1/jobs", params={"limit": 100, **({} if after is None else {"after": after})}).json()
            seen += [(job["request"]["prompt"], job["request"]["seed"]) for job in page["jobs"]]
            after = page["next"]
            if after is None:
                break
        tally.duplicated += len(seen) - len(set(seen))  # of one request, under two names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--store", help="a database URL; a new SQLite file if not given")
    parser.add_argument("--servers", type=int, default=1, help="that share a PostgreSQL store")
    parser.add_argument("--postgresql", action="store_true", help="have a PostgreSQL server of its own")
    arguments = parser.parse_args()
    if arguments.servers > 1 and not (arguments.postgresql or str(arguments.store).startswith("postgresql")):
        parser.error("several servers share a PostgreSQL store: add --postgresql, or name one with --store")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if arguments.postgresql:
            from database import database_server

            store = stack.enter_context(database_server()).database()
        else:
            store = arguments.store or f"sqlite:///{folder / 'jobs.db'}"
        tally = run(times=arguments.times, folder=folder, store=store, servers=arguments.servers)
    print(json.dumps(asdict(tally), indent=2))
    sys.exit(1 if tally.lost or tally.duplicated or tally.wrong or tally.unfinished_files else 0)


if __name__ == "__main__":
    main()
