"""Damaged and malicious pictures: refused or read, quickly and within memory."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from broken_pictures import bombs, harmless, mutated
from real_server import running, show
from served import Client

COUNT = 500
WITHIN_S, WITHIN_MIB = 2.0, 300


@dataclass
class Pictures:
    """What was seen."""

    statuses: dict[int, int] = field(default_factory=lambda: {202: 0, 422: 0})
    slowest_s: float = 0.0
    growth_mib: float = 0.0


def send(client: Client, seen: Pictures, name: str, data: bytes, *, kind: str) -> int:
    """The status of a job with this picture."""
    body: dict[str, Any] = {"kind": kind, "image": base64.b64encode(data).decode(), "steps": 2, "seed": 1}
    answer = client.post("/v1/jobs", json=body if kind == "video" else {**body, "prompt": "x"})
    seconds = answer.elapsed.total_seconds()
    assert answer.status_code in seen.statuses, f"{name}: {answer.text}"
    seen.statuses[answer.status_code] += 1
    seen.slowest_s = max(seen.slowest_s, seconds)
    assert seconds < WITHIN_S, name
    return answer.status_code


@pytest.mark.timeout(240)
def test_pictures_are_refused_or_read(tmp_path: Path) -> None:
    seen = Pictures()
    with (
        running(tmp_path, max_queue=5000) as server,
        Client(base_url=server.url, timeout=30) as client,
    ):
        client.until_done(client.job()["id"])
        before = server.peak_mib()
        for name, data in harmless().items():
            assert send(client, seen, name, data, kind="image") == 202, name
        for number, (name, data) in enumerate(mutated(COUNT)):
            send(client, seen, name, data, kind=("image", "video")[number % 2])
        for name, data in bombs().items():
            for kind in ("image", "video"):
                assert send(client, seen, name, data, kind=kind) == 422, name
        seen.growth_mib = round(server.peak_mib() - before, 1)
        show(seen)
        assert seen.growth_mib < WITHIN_MIB
        assert min(seen.statuses[202], seen.statuses[422]) > 50  # neither all refused nor all read
        assert client.get("/readyz").status_code == 200
        taken = [job for page in _pages(client) for job in page]
        assert len(taken) == seen.statuses[202] + 1
        assert {client.until_done(job["id"])["status"] for job in taken} == {"succeeded"}
    assert "Traceback" not in server.log.read_text()


def _pages(client: Client) -> Any:
    after: dict[str, str] = {}
    while True:
        page = client.get("/v1/jobs", params={"limit": 100, **after}).json()
        yield page["jobs"]
        if page["next"] is None:
            return
        after = {"after": page["next"]}
