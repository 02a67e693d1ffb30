"""Sends thousands of jobs of all sorts, with clients that leave early, and measures what the server keeps of them.

python benchmarks/service/soak.py --jobs 2000
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from real_server import RealServer, running, show

WARM_UP = 200
CLIENTS = 6
SETTLE_S = 3.0
TTL_S = 1.0
POOLS = 4  # threads and connections that pools may have more, whose sizes have a bound; a leak is of hundreds
TERMINAL = ("succeeded", "failed", "expired", "canceled")


@dataclass
class Held:
    """What the server holds at one moment."""

    rss_mib: float
    threads: int
    descriptors: int
    live_jobs: int
    followers: int


@dataclass
class Soak:
    """What was seen."""

    jobs: int = 0
    seconds: float = 0.0
    ended: dict[str, int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    left_early: int = 0
    before: Held | None = None
    after: Held | None = None

    @property
    def growth_mib(self) -> float:
        """Of the server, from the warm-up to the end."""
        assert self.before is not None
        assert self.after is not None
        return round(self.after.rss_mib - self.before.rss_mib, 1)

    @property
    def is_good(self) -> bool:
        """Whether nothing went wrong, and nothing was left behind."""
        assert self.before is not None
        assert self.after is not None
        return (
            not self.unexpected
            and self.growth_mib <= 20
            and self.after.threads <= self.before.threads + POOLS
            and self.after.descriptors <= self.before.descriptors + POOLS
            and self.after.followers == 0
        )


class Client(threading.Thread):
    """Sends jobs of all sorts, one after the other."""

    def __init__(self, url: str, *, jobs: int, seed: int, seen: Soak, lock: threading.Lock) -> None:
        super().__init__(daemon=True)
        self._url, self._jobs, self._seen, self._lock = url, jobs, seen, lock
        self._chance = random.Random(seed)
        buffer = io.BytesIO()
        Image.effect_noise((256, 256), 60).save(buffer, "PNG")
        self._picture = base64.b64encode(buffer.getvalue()).decode()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            for number in range(self._jobs):
                sort = self._chance.choice(("plain", "picture", "video", "cancel", "leave", "compare", "openai"))
                try:
                    ended = self._openai(client) if sort == "openai" else self._job(client, sort, number)
                except (httpx.HTTPError, KeyError, AssertionError) as error:
                    ended = "error"
                    with self._lock:
                        self._seen.unexpected.append(f"{sort}: {error!r}"[:300])
                with self._lock:
                    self._seen.ended[ended] = self._seen.ended.get(ended, 0) + 1

    def _job(self, client: httpx.Client, sort: str, number: int) -> str:
        body: dict[str, Any] = {"kind": "image", "prompt": "x" * self._chance.randrange(4000), "previews": True}
        body |= {"steps": self._chance.randint(2, 40), "n": self._chance.randint(1, 2), "seed": number}
        if sort == "video":
            body = {"kind": "video", "image": self._picture, "steps": 5, "previews": True}
        elif sort == "picture":
            body |= {"image": self._picture, "strength": 0.5}
        elif sort == "compare":
            body["compare"] = True
        job = self._accepted(client, body)
        if sort == "cancel":
            client.post(f"/v1/jobs/{job}/cancel").raise_for_status()
        if sort == "leave":
            with client.stream("GET", f"/v1/jobs/{job}/events") as events:
                next(events.iter_lines(), None)
            with self._lock:
                self._seen.left_early += 1
        ended = self._until_ended(client, job)
        for output in ended["outputs"][:1]:
            assert client.get(output["url"]).status_code == 200
        assert ended["status"] in (("succeeded", "canceled") if sort == "cancel" else ("succeeded",)), ended["status"]
        if self._chance.random() < 0.3:
            assert client.delete(f"/v1/jobs/{job}").status_code == 204
        return str(ended["status"])

    def _accepted(self, client: httpx.Client, body: dict[str, Any]) -> str:
        while True:
            answer = client.post("/v1/jobs", json=body)
            if answer.status_code != 429:
                return str(answer.raise_for_status().json()["id"])
            time.sleep(0.05)

    def _until_ended(self, client: httpx.Client, job: str) -> dict[str, Any]:
        while True:
            found: dict[str, Any] = client.get(f"/v1/jobs/{job}").raise_for_status().json()
            if found["status"] in TERMINAL:
                return found
            time.sleep(0.01)

    def _openai(self, client: httpx.Client) -> str:
        body: dict[str, Any] = {"prompt": "x", "steps": 10}
        if self._chance.random() < 0.5:
            client.post("/v1/images/generations", json=body).raise_for_status()
            return "succeeded"
        with client.stream(
            "POST", "/v1/images/generations", json={**body, "stream": True, "partial_images": 2}
        ) as sent:
            next(sent.iter_lines(), None)
        with self._lock:
            self._seen.left_early += 1
        return "left"


def run(folder: Path, *, jobs: int, warm_up: int = WARM_UP) -> Soak:
    """So many jobs after those that warm it up."""
    settings = {"events_ttl_s": TTL_S, "max_queue": 200, "dummy_step_s": 0.0005}
    with running(folder, **settings) as server:
        _load(server, Soak(), jobs=warm_up, seeds=range(CLIENTS))
        before = _held(server)
        seen, began = Soak(jobs=jobs, before=before), time.monotonic()
        _load(server, seen, jobs=jobs, seeds=range(100, 100 + CLIENTS))
        seen.seconds = round(time.monotonic() - began, 1)
        seen.after = _held(server)
        if "Traceback" in server.log.read_text():
            seen.unexpected.append("a traceback in the log")
    return seen


def _load(server: RealServer, seen: Soak, *, jobs: int, seeds: Sequence[int]) -> None:
    lock = threading.Lock()
    clients = [Client(server.url, jobs=jobs // len(seeds), seed=seed, seen=seen, lock=lock) for seed in seeds]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def _held(server: RealServer) -> Held:
    """When all connections are closed, and a job after the others has had those forgotten that are old."""
    time.sleep(SETTLE_S)
    with httpx.Client(base_url=server.url, headers={"Connection": "close"}) as client:
        client.post("/v1/jobs", json={"kind": "image", "prompt": "x", "steps": 1}).raise_for_status()
        figures = client.get("/metrics").text.splitlines()
    time.sleep(SETTLE_S)
    process = server.application()

    def figure(name: str) -> int:
        return next(int(float(line.rpartition(" ")[2])) for line in figures if line.startswith(name))

    return Held(
        rss_mib=round(server.rss_mib(), 1),
        threads=process.num_threads(),
        descriptors=process.num_fds(),
        live_jobs=figure("skipstep_live_jobs"),
        followers=figure("skipstep_followers"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    with tempfile.TemporaryDirectory() as name:
        seen = run(Path(name), jobs=parser.parse_args().jobs)
    show(seen)
    print(f"growth: {seen.growth_mib} MiB")
    sys.exit(0 if seen.is_good else 1)


if __name__ == "__main__":
    main()
