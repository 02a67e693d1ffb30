"""The examples, run as their readers run them, against the dummy engine and the demo model."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from conftest import Serve
from PIL import Image
from served import Client
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.settings import ApiKey

EXAMPLES = Path(__file__).parents[2] / "service" / "examples"
PROMPT = "a red apple"
WITH_DEMO = pytest.param({"engine": "skipstep", "models": {"demo": "demo"}}, id="demo", marks=pytest.mark.slow)
ENGINES = pytest.mark.parametrize("engine", [pytest.param({"dummy_step_s": 0.02}, id="dummy"), WITH_DEMO])


@pytest.fixture
def server(serve: Serve, engine: dict[str, Any]) -> Iterator[Client]:
    with serve(api_keys=(ApiKey.of("me", "secret"),), **engine) as client:
        client.headers["Authorization"] = "Bearer secret"
        yield client


def shown_by(*line: str) -> str:
    """What an example prints; it must end well."""
    environment = {**os.environ, "SKIPSTEP_KEY": "secret"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@ENGINES
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(server: Client, tmp_path: Path) -> None:
    shown = shown_by("sh", str(EXAMPLES / "curl.sh"), str(server.base_url).rstrip("/"), str(tmp_path))
    job, other = (line.split()[1] for line in shown.splitlines() if line.startswith(("accepted", "canceling")))
    progress = [line for line in shown.splitlines() if line == "event: progress"]
    assert len(progress) == 30
    assert (tmp_path / "apple.png").read_bytes() == server.get(f"{job}/outputs/0.png").content
    assert server.until_done(other.removeprefix("/v1/jobs/"))["status"] == "canceled"


@ENGINES
def test_httpx(server: Client, engine: dict[str, Any], tmp_path: Path) -> None:
    address = ("--url", str(server.base_url), "--out", str(tmp_path))
    shown = shown_by(sys.executable, str(EXAMPLES / "client.py"), PROMPT, "--compare", "--steps", "12", *address)
    (job,) = server.get("/v1/jobs").json()["jobs"]
    assert "evaluation 12 of 12: reuse pass" in shown or "evaluation 12 of 12: full pass" in shown
    assert "likeness   PSNR" in shown
    for output in job["outputs"]:
        saved = (tmp_path / f"{job['id']}-{output['name']}").read_bytes()
        assert saved == server.get(output["url"]).content
    assert len(job["outputs"]) == 2
    if "engine" in engine:
        image = job["report"]["images"][0]
        assert f"{image['full_passes']} full + {image['reuse_passes']} reuse: {image['passes']}" in shown


@ENGINES
def test_openai(server: Client, engine: dict[str, Any], tmp_path: Path) -> None:
    address = ("--url", f"{server.base_url}/v1", "--out", str(tmp_path))
    shown = shown_by(sys.executable, str(EXAMPLES / "openai_client.py"), PROMPT, *address)
    streamed, first = server.get("/v1/jobs").json()["jobs"]
    assert f"job        {first['id']}" in shown
    for job, name in ((first, "openai-0.png"), (streamed, "openai-streamed.png")):
        assert (tmp_path / name).read_bytes() == server.get(job["outputs"][0]["url"]).content
    assert first["request"]["acceleration"]["preset"] == "balanced"
    if "engine" not in engine:
        assert (tmp_path / "openai-0.png").read_bytes() == dummy_bytes(PROMPT, 1)
        with Image.open(tmp_path / "openai-partial-0.jpeg") as partial:
            assert partial.format == "JPEG"


@pytest.mark.parametrize("engine", [{"prompt_engine": "echo"}])
def test_prompts(server: Client, tmp_path: Path) -> None:
    address = ("--url", str(server.base_url).rstrip("/"), "--out", str(tmp_path), "--seed", "7")
    shown = shown_by(sys.executable, str(EXAMPLES / "prompt_client.py"), PROMPT, *address)
    (job,) = server.get("/v1/jobs").json()["jobs"]
    drawn = job["expansion"]["prompt"]
    assert drawn.startswith(f"{PROMPT}, ")
    assert shown.splitlines()[1] == f"prompt     {drawn}"
    assert f"drawn      {drawn}" in shown
    assert f"answer     Name one colour of {PROMPT}." in shown
    assert (tmp_path / f"{job['id']}-0.png").read_bytes() == dummy_bytes(drawn, 7)


@pytest.fixture
def example() -> ModuleType:
    """client.py."""
    spec = importlib.util.spec_from_file_location("example_client", EXAMPLES / "client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Cut(httpx.SyncByteStream):
    """An answer whose connection breaks."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text.encode()
        raise httpx.ReadError("cut")


def event(number: int, kind: str, data: str) -> str:
    return f"id: 1-{number}\nevent: {kind}\ndata: {data}\n\n"


def test_a_cut_stream_is_taken_up(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "AGAIN_S", 0.0)
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Last-Event-ID"))
        if len(seen) == 1:
            half = 'id: 1-2\nevent: progress\ndata: {"n'
            return httpx.Response(200, stream=Cut(event(0, "status", '{"status": "running"}') + ": ping\n\n" + half))
        rest = event(1, "progress", "{}") + event(2, "status", '{"status": "succeeded"}')
        return httpx.Response(200, text=rest)

    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(answer)) as client:
        told = list(example.follow(client, {"links": {"events": "/v1/jobs/j/events"}}))
    assert seen == [None, "1-0"]
    assert [kind for kind, _ in told] == ["status", "progress", "status"]


def test_a_full_queue_is_asked_again_with_one_key(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(example.time, "sleep", waits.append)
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            return httpx.Response(429, headers={"Retry-After": "7"}, json={"error": {"message": "full"}})
        if len(keys) == 2:
            raise httpx.ConnectError("gone")
        return httpx.Response(202, json={"id": "j"})

    with httpx.Client(base_url="http://x", transport=httpx.MockTransport(answer)) as client:
        assert example.submit(client, {}) == {"id": "j"}
    assert waits == [7.0, example.AGAIN_S]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_refusal_is_told(example: ModuleType) -> None:
    refusal = httpx.MockTransport(lambda _: httpx.Response(422, json={"error": {"message": "steps: too many"}}))
    with (
        httpx.Client(base_url="http://x", transport=refusal) as client,
        pytest.raises(SystemExit, match="error: steps: too many"),
    ):
        example.submit(client, {})
