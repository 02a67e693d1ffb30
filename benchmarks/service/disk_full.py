"""Fills the disk under a server with jobs, gives the room back, and counts what became of them. Linux, as root.

python benchmarks/service/disk_full.py --mib 2
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from real_server import RealServer, show

TERMINAL = ("succeeded", "failed", "expired", "canceled")
ALLOWED = {202, 429, 507}
BALLAST = 3 * 2**18  # bytes that are given back


@dataclass
class Tally:
    """What was seen."""

    statuses: dict[int, int] = field(default_factory=dict)
    accepted: int = 0
    succeeded: int = 0
    ready_when_full: int = 0
    reason: str = ""
    reads_failed: int = 0
    ready_again_s: float = 0.0
    unfinished_files: int = 0
    integrity: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost and nothing but the allowed answers came."""
        return (
            set(self.statuses) <= ALLOWED
            and self.statuses.get(507, 0) > 0
            and self.succeeded == self.accepted > 0
            and (self.ready_when_full, self.reads_failed, self.unfinished_files) == (503, 0, 0)
            and self.ready_again_s <= 2
            and self.integrity == "ok"
        )


@contextmanager
def small_disk(folder: Path, *, mib: float) -> Iterator[Path]:
    """A file system of this size in memory.

    Raises:
        PermissionError: if it cannot be mounted.
    """
    folder.mkdir()
    options = f"size={int(mib * 1024)}k"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        raise PermissionError(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def run(folder: Path, *, mib: float = 2.0, refusals: int = 200, step_s: float = 0.01) -> Tally:
    """Send jobs until so many were refused, then delete a file and wait for all that were accepted."""
    tally = Tally()
    with small_disk(folder / "disk", mib=mib) as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * BALLAST)
        server = RealServer(
            folder,
            store=f"sqlite:///{disk / 'jobs.db'}",
            results=disk / "results",
            dummy_step_s=step_s,
            max_queue=200,
            timeout_s=3600,
        )
        server.start()
        try:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                accepted = _fill(client, tally, refusals)
                _look(client, tally, accepted)
                ballast.unlink()
                _recover(client, tally, accepted)
        finally:
            server.stop()
        tally.unfinished_files = sum(1 for _ in (disk / "results").rglob("*.unfinished"))
        with sqlite3.connect(disk / "jobs.db") as database:
            tally.integrity = database.execute("pragma integrity_check").fetchone()[0]
        database.close()
    return tally


def _fill(client: httpx.Client, tally: Tally, refusals: int) -> list[str]:
    accepted: list[str] = []
    while tally.statuses.get(507, 0) < refusals:
        body = {"kind": "image", "prompt": "x" * 4000, "steps": 2, "n": 2}
        answer = client.post("/v1/jobs", json=body)
        tally.statuses[answer.status_code] = tally.statuses.get(answer.status_code, 0) + 1
        if answer.status_code == 202:
            accepted.append(answer.json()["id"])
        elif answer.status_code == 429:
            time.sleep(0.05)
    tally.accepted = len(accepted)
    return accepted


def _look(client: httpx.Client, tally: Tally, accepted: list[str]) -> None:
    ready = client.get("/readyz")
    tally.ready_when_full, tally.reason = ready.status_code, ready.json().get("reason", "")
    paths = ["/healthz", "/v1/jobs", "/v1/models", "/metrics", "/", *(f"/v1/jobs/{job}" for job in accepted)]
    tally.reads_failed = sum(client.get(path).status_code != 200 for path in paths)


def _recover(client: httpx.Client, tally: Tally, accepted: list[str]) -> None:
    began = time.monotonic()
    while client.get("/readyz").status_code != 200 and time.monotonic() - began < 30:
        time.sleep(0.02)
    tally.ready_again_s = round(time.monotonic() - began, 2)
    end = time.monotonic() + 60
    for job in accepted:
        while (status := client.get(f"/v1/jobs/{job}").json()["status"]) not in TERMINAL and time.monotonic() < end:
            time.sleep(0.02)
        tally.succeeded += status == "succeeded"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=float, default=2.0)
    with tempfile.TemporaryDirectory() as name:
        tally = run(Path(name), mib=parser.parse_args().mib)
    show(tally)
    sys.exit(0 if tally.is_good else 1)


if __name__ == "__main__":
    main()
