"""Sends a server what its schema allows and what it does not (Schemathesis), and counts answers that the schema lacks.

python benchmarks/service/fuzz.py --cases 10000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fuzz_hooks import JOBS, PICTURE
from real_server import RealServer, running, show

KEY = "fuzz"
CONFIG = """
hooks = "fuzz_hooks"
continue-on-failure = true
request-timeout = 60
warnings = false

[generation]
database = "none"

# A schema cannot say which models a server has, what is a picture, or which fields go together: 400 and 422 are
# right answers to bodies that it allows. All other checks of Schemathesis hold as they are.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 400, 401, 403, 404, 409, 422, 429]
"""
PHASES = "coverage,fuzzing,stateful"
EACH = 60  # examples of an operation in a round


@dataclass
class Tally:
    """What was seen; failures by their kind, with the operations."""

    cases: int = 0
    rounds: int = 0
    seconds: float = 0.0
    server_errors: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    tracebacks: int = 0
    is_ready: bool = False

    @property
    def is_good(self) -> bool:
        """Whether every answer was as the schema says, and the server is as it was."""
        return not (self.failures or self.errors or self.tracebacks or self.server_errors) and self.is_ready


def run(folder: Path, *, cases: int, each: int = EACH, seed: int = 1) -> Tally:
    """Rounds with one seed after the other until so many cases were sent."""
    key = {"name": "fuzz", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "scopes": ["jobs", "metrics", "admin"]}
    tally = Tally()
    settings = {
        "a1111": True,
        "prompt_engine": "echo",
        "max_queue": 100_000,
        "api_keys": json.dumps([key]),
        "timeout_s": 60,
    }
    with running(folder, **settings) as server:
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            while tally.cases < cases:
                _round(server, tally, jobs=_jobs(client), each=each, seed=seed + tally.rounds)
            tally.is_ready = client.get("/readyz").status_code == 200
            tally.server_errors = _server_errors(client)
        tally.tracebacks = server.log.read_text().count("Traceback (most recent call last)")
    return tally


def _jobs(client: httpx.Client) -> list[str]:
    """Jobs of both kinds for requests to name."""
    bodies: list[dict[str, Any]] = [
        {"kind": "image", "prompt": "x", "steps": 3},
        {"kind": "video", "image": PICTURE, "steps": 3},
    ]
    made = [client.post("/v1/jobs", json=body) for body in bodies * 20]
    return [answer.raise_for_status().json()["id"] for answer in made]


def _round(server: RealServer, tally: Tally, *, jobs: list[str], each: int, seed: int) -> None:
    config, report = server.folder / "schemathesis.toml", server.folder / "report.json"
    config.write_text(CONFIG)
    line = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{server.url}/openapi.json"]
    line += ["--header", f"Authorization: Bearer {KEY}", "--phases", PHASES, "--no-color"]
    line += ["--max-examples", str(each), "--seed", str(seed), "--report", "json", "--report-json-path", str(report)]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, JOBS: ",".join(jobs), "PYTHONPATH": paths}
    ran = subprocess.run(line, env=environment, capture_output=True, text=True, cwd=server.folder)
    if not report.is_file():
        raise RuntimeError(f"Schemathesis did not run: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    found = json.loads(report.read_text())
    report.unlink()
    tally.rounds += 1
    tally.cases += found["test_cases"]["generated"]
    tally.seconds = round(tally.seconds + found["running_time"], 1)
    for failure in found["failures"]:
        tally.failures.setdefault(failure["title"], []).extend(failure["operations"])
    tally.errors += [str(error)[:500] for error in found["errors"]]
    if found["exit_code"]:
        sys.stderr.write(ran.stdout[-20_000:])


def _server_errors(client: httpx.Client) -> int:
    """Answers of 500 and above that the server counted itself."""
    lines = client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("http_server_request_duration_seconds_count")]
    assert counted, "the server counts its answers"
    return sum(int(float(line.rpartition(" ")[2])) for line in counted if 'http_response_status_code="5' in line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=EACH, help="examples of an operation in a round")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    with tempfile.TemporaryDirectory() as name:
        tally = run(Path(name), **vars(parser.parse_args()))
    show(tally)
    sys.exit(0 if tally.is_good else 1)


if __name__ == "__main__":
    main()
