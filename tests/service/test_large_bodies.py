"""Bodies that are too large, methods that are not there, and clients that leave: answered in the API's own form."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Serve
from real_server import running
from served import Client

LIMIT = 100_000
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def small(serve: Serve) -> Iterator[Client]:
    """A server that reads bodies of 100,000 bytes."""
    with serve(a1111=True, max_body_bytes=LIMIT) as client:
        yield client


def parts(size: int) -> Iterator[bytes]:
    """A body without a length."""
    while size > 0:
        yield b"x" * min(size, 10_000)
        size -= 10_000


def message_of(body: dict[str, Any]) -> str:
    """In the shape of any of the three APIs."""
    return str(body["detail"] if "detail" in body else body["error"]["message"])


SHAPES = {
    "/v1/jobs": {"error"},
    "/v1/images/generations": {"error"},
    "/v1/videos": {"error"},
    "/sdapi/v1/txt2img": {"error", "detail", "body", "errors"},
}


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_too_large_a_body(small: Client, path: str, is_chunked: bool) -> None:
    content: Any = parts(LIMIT + 1) if is_chunked else b"x" * (LIMIT + 1)
    answer = small.post(path, content=content, headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Connection"] == "close"
    assert set(answer.json()) == SHAPES[path]
    assert message_of(answer.json()) == f"the body may have {LIMIT} bytes; send less"
    allowed: Any = parts(LIMIT) if is_chunked else b"x" * LIMIT
    assert small.post(path, content=allowed, headers=JSON).status_code in (400, 422)  # it is read, and is no JSON


def test_too_large_a_form(small: Client) -> None:
    answer = small.post("/v1/videos", files={"input_reference": b"x" * (LIMIT + 1)}, data={"prompt": "x"})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_too_large_a_body_for_the_real_server(tmp_path: Path) -> None:
    contents: list[Any] = [parts(14_000_000), b"x" * 14_000_000]
    with (
        running(tmp_path, max_body_bytes=13_000_000) as server,
        Client(base_url=server.url, timeout=30) as client,
    ):
        for content in contents:
            answer = client.post("/v1/jobs", content=content, headers=JSON)
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "too_large"
            assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/jobs", "GET, POST"),
        ("/v1/jobs/x", "GET, DELETE"),
        ("/v1/videos/x/content", "GET"),
        ("/sdapi/v1/interrupt", "POST"),
        ("/", "GET, HEAD"),
    ],
)
def test_methods_that_are_not_there(small: Client, path: str, allowed: str) -> None:
    answer = small.put(path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert set(answer.json()) == {"error"}


def test_clients_that_leave_are_no_error(tmp_path: Path) -> None:
    with running(tmp_path, dummy_step_s=0.01) as server, Client(base_url=server.url, timeout=30) as client:
        for _ in range(30):
            job = client.job(steps=30)["id"]
            with client.stream("GET", f"/v1/jobs/{job}/events") as events:
                next(events.iter_lines())
        jobs = [one["id"] for one in client.get("/v1/jobs", params={"limit": 100}).json()["jobs"]]
        assert len(jobs) == 30
        assert {client.until_done(job)["status"] for job in jobs} == {"succeeded"}
        end = time.monotonic() + 10
        while "skipstep_followers 0.0" not in (page := _plain(client)) and time.monotonic() < end:
            time.sleep(0.05)
        assert "skipstep_followers 0.0" in page
    log = server.log.read_text()
    assert "Traceback" not in log
    assert '"level": "error"' not in log


def _plain(client: Client) -> str:
    """The figures without their labels."""
    lines = client.get("/metrics").text.splitlines()
    return "\n".join(f"{line.partition('{')[0].partition(' ')[0]} {line.rpartition(' ')[2]}" for line in lines)
