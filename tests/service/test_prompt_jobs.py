"""`expand` in jobs: made before they run, kept with them, and never in the way of others."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Play, Serve
from PIL import Image
from prompt_engines import Hanging, Playing, dead, slow
from real_server import RealServer
from receiver import HOOKS, receiving
from served import IMAGE, Client
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.prompts import line
from skipstep_service.store.database import open_database
from skipstep_service.store.job_store import JobStore
from skipstep_service.work.worker import Worker

from skipstep.promptllm import ClipTokens, ExpandRequest, PromptExpander, load_preset, open_engine

PROMPT = IMAGE["prompt"]
LONG = f"{PROMPT}, soft light, film grain"


def picture(client: Client, job: dict[str, Any]) -> bytes:
    return client.get(job["outputs"][0]["url"]).content


@pytest.fixture
def gated() -> Iterator[tuple[Playing, threading.Event]]:
    """A model that answers when it is let."""
    gate = threading.Event()

    def waits(_: Any) -> Iterator[str]:
        for _ in range(2000):
            if gate.wait(0.01):
                break
            yield ""
        yield "soft light, film grain"

    yield Playing(waits), gate
    gate.set()


def test_the_expanded_prompt_is_drawn(play: Play) -> None:
    engine = Playing()
    with play(engine) as client:
        job = client.until_done(client.job(seed=5, n=2, expand={"preset": "anime"})["id"])
        assert job["status"] == "succeeded"
        assert job["request"]["prompt"] == PROMPT
        assert job["request"]["expand"]["preset"] == "anime"
        assert "expansion" not in job["request"]
        made = job["expansion"]
        assert (made["original"], made["prompt"], made["added"]) == (PROMPT, LONG, "soft light, film grain")
        assert (made["seed"], made["preset"], made["reason"]) == (5, "anime", None)
        assert picture(client, job) == dummy_bytes(LONG, 5)
        assert client.get(job["outputs"][1]["url"]).content == dummy_bytes(LONG, 6)
        assert len(engine.questions) == 1  # for both pictures
        told = [(event["event"], event["data"].get("status")) for event in client.events(job["id"])]
        assert told[:3] == [("status", "queued"), ("expansion", None), ("status", "running")]
        events = {event["event"]: event["data"] for event in client.events(job["id"])}
        assert {**events["expansion"], "at": 0} == {**made, "at": 0}
        again = client.job(**{**job["request"], "kind": "image"})  # what is told can be sent again
        assert client.until_done(again["id"])["expansion"]["prompt"] == LONG


def test_the_seed_is_the_job_s_unless_there_is_one(play: Play) -> None:
    engine = Playing()
    with play(engine) as client:
        drawn = client.until_done(client.job(seed=None, expand={})["id"])
        client.until_done(client.job(seed=5, expand={"seed": 9, "temperature": 0.0, "max_tokens": 3})["id"])
    assert engine.questions[0].seed == drawn["request"]["seed"]
    assert (engine.questions[1].seed, engine.questions[1].temperature, engine.questions[1].max_tokens) == (9, 0.0, 3)


@pytest.mark.parametrize("own", ["", "blurry"])
def test_the_negative_prompt_is_the_expansion_s_where_there_is_none(play: Play, own: str) -> None:
    answer = '{"prompt": "soft light", "negative_prompt": "fog"}'
    with play(Playing(lambda _: iter([answer])), a1111=True) as client:
        body = {"prompt": PROMPT, "negative_prompt": own, "steps": 2, "expand": {"schema": True}}
        info = json.loads(client.post("/sdapi/v1/txt2img", json=body).json()["info"])
    assert info["negative_prompt"] == (own or "fog")
    assert info["prompt"] == info["all_prompts"][0] == f"{PROMPT}, soft light"
    assert info["infotexts"][0].startswith(f"{PROMPT}, soft light\nNegative prompt: {own or 'fog'}\n")
    assert info["expansion"]["original"] == PROMPT


def test_others_do_not_wait_for_it(play: Play, gated: tuple[Playing, threading.Event]) -> None:
    engine, gate = gated
    with play(engine, max_queue=2) as client:
        held = client.job(expand={})
        other = client.until_done(client.job(seed=6)["id"])
        assert other["status"] == "succeeded"
        waits = client.look(held["id"])
        assert (waits["status"], waits["position"], waits["expansion"]) == ("queued", 0, None)
        client.job(expand={}, seed=7)
        assert client.post("/v1/jobs", json=IMAGE).status_code == 429  # they count
        gate.set()
        assert client.until_done(held["id"])["expansion"]["prompt"] == LONG


def test_canceling_stops_the_model(play: Play, gated: tuple[Playing, threading.Event]) -> None:
    engine, gate = gated
    with play(engine) as client:
        first, second = client.job(expand={}), client.job(expand={}, seed=6)
        while not engine.questions:
            time.sleep(0.005)
        for job in (second, first):
            assert client.post(f"/v1/jobs/{job['id']}/cancel").json()["status"] == "canceled"
        assert engine.left.acquire(timeout=10)
        gate.set()
        assert client.until_done(client.job(expand={}, seed=7)["id"])["status"] == "succeeded"
        for job in (first, second):
            assert client.look(job["id"])["status"] == "canceled"
            assert [event["event"] for event in client.events(job["id"])] == ["status", "status"]
        assert len(engine.questions) == 2


def test_a_job_that_is_late_is_not_expanded_any_longer(play: Play) -> None:
    engine = Playing(slow)
    with play(engine) as client:
        assert client.until_done(client.job(expand={}, timeout_s=0.5)["id"])["status"] == "expired"
        assert engine.left.acquire(timeout=10)


def test_a_model_that_breaks_leaves_the_prompt(play: Play) -> None:
    with play(Playing(dead)) as client:
        job = client.until_done(client.job(expand={})["id"])
        assert job["status"] == "succeeded"
        assert job["expansion"]["reason"] == "the prompt model failed: RuntimeError"
        assert job["expansion"]["prompt"] == PROMPT
        assert picture(client, job) == dummy_bytes(PROMPT, 5)


def test_a_model_that_hangs_leaves_the_prompt_and_the_worker_goes_on(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "GRACE_S", 0.1)
    engine = Hanging()
    with play(engine, prompt_timeout_s=0.2) as client:
        jobs = [client.job(expand={}, seed=seed)["id"] for seed in range(5)]
        for job in jobs:
            ended = client.until_done(job)
            assert ended["status"] == "succeeded"
            assert ended["expansion"]["prompt"] == PROMPT
            assert re.search("no answer within 0.2 s|hangs", ended["expansion"]["reason"])
        engine.let_go.set()


@pytest.mark.parametrize(
    ("expand", "said"),
    [
        ({"preset": "nothing"}, "preset must be one of anime"),
        ({"preset": "../photo"}, "expand.preset: "),
        ({"adapters": [{"name": "x"}]}, "there is no adapter 'x'"),
        ({"adapters": [{"name": "x", "scale": 9}]}, "expand.adapters.0.scale"),
        ({"max_clip_tokens": 1}, "expand.max_clip_tokens"),
        ({"schema": 5}, "expand.schema"),
        ({"prompt": "x"}, "expand.prompt"),
        ("photo", "expand: "),
    ],
)
def test_what_is_refused(play: Play, expand: Any, said: str) -> None:
    with play(Playing()) as client:
        answer = client.post("/v1/jobs", json={**IMAGE, "expand": expand})
        assert answer.status_code == 422
        assert said in answer.json()["error"]["message"], answer.text
        assert client.post("/v1/jobs", json={**IMAGE, "prompt": " ", "expand": {}}).status_code == 422
        assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_server_without_a_model_refuses(client: Client) -> None:
    answer = client.post("/v1/jobs", json={**IMAGE, "expand": {}})
    assert answer.status_code == 422
    assert "set" in answer.json()["error"]["message"]
    assert "SKIPSTEP_PROMPT_ENGINE" in answer.json()["error"]["message"]
    clip = {"kind": "video", "image": base64.b64encode(b"x").decode(), "expand": {}}
    assert "expand: " in client.post("/v1/jobs", json=clip).json()["error"]["message"]  # clips have no prompt
    made = client.job(expand=None)
    assert "expand" not in made["request"]
    assert made["expansion"] is None


def test_the_same_key_has_the_same_expansion(play: Play) -> None:
    engine = Playing()
    with play(engine) as client:
        headers = {"Idempotency-Key": "one"}
        body = {**IMAGE, "expand": {}}
        first = client.post("/v1/jobs", json=body, headers=headers).json()["id"]
        done = client.until_done(first)
        again = client.post("/v1/jobs", json=body, headers=headers)
        assert (again.json()["id"], again.json()["expansion"]) == (first, done["expansion"])
        other = client.post("/v1/jobs", json={**IMAGE, "expand": {"preset": "anime"}}, headers=headers)
        assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert len(engine.questions) == 1


def test_openai_s_pictures_tell_the_prompt_that_was_drawn(play: Play) -> None:
    body = {"prompt": PROMPT, "seed": 3, "steps": 2, "expand": {"preset": "photo"}}
    with play(Playing()) as client:
        answer = client.post("/v1/images/generations", json=body).json()
        assert answer["data"][0]["revised_prompt"] == LONG
        assert base64.b64decode(answer["data"][0]["b64_json"]) == dummy_bytes(LONG, 3)
        assert answer["expansion"]["original"] == PROMPT
        with client.stream("POST", "/v1/images/generations", json={**body, "stream": True}) as stream:
            last = [json.loads(one[6:]) for one in stream.iter_lines() if one.startswith("data: ")][-1]
        assert last["revised_prompt"] == LONG
        plain = client.post("/v1/images/generations", json={"prompt": PROMPT, "steps": 2}).json()
        assert "revised_prompt" not in plain["data"][0]
        refused = client.post("/v1/images/generations", json={**body, "expand": {"preset": "nothing"}})
        assert refused.status_code == 400


def test_a_webhook_tells_the_expansion(play: Play) -> None:
    with receiving() as receiver, play(Playing(), **HOOKS) as client:
        client.job(expand={}, webhook={"url": receiver.url()})
        (posted,) = receiver.until(1)
    assert json.loads(posted.body)["data"]["expansion"]["prompt"] == LONG


def test_an_expansion_outlives_the_server(
    play: Play, gated: tuple[Playing, threading.Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, gate = gated
    with monkeypatch.context() as only, play(engine, drain_s=0.1) as client:
        only.setattr(Worker, "_run_batch", lambda *_: None)  # it does not get as far as drawing
        expanded = client.job(expand={}, seed=1)["id"]
        gate.set()
        while (kept := client.look(expanded)["expansion"]) is None:
            time.sleep(0.01)
        gate.clear()
        waiting = client.job(expand={"adapters": []}, seed=2)["id"]
        while len(engine.questions) < 2:
            time.sleep(0.01)
    store = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.db'}"))
    rows = {job: store.get(job) for job in (expanded, waiting)}
    store.close()
    assert [row.status for row in rows.values() if row is not None] == ["queued", "queued"]
    assert rows[expanded].request["expansion"] == kept  # type: ignore[union-attr]
    assert "expansion" not in rows[waiting].request  # type: ignore[union-attr]

    other = Playing(lambda _: iter(["another text"]))
    with play(other) as client:
        assert client.until_done(expanded)["expansion"] == kept
        assert client.until_done(waiting)["expansion"]["added"] == "another text"
        assert picture(client, client.look(expanded)) == dummy_bytes(LONG, 1)
    assert len(other.questions) == 1


def test_a_model_that_is_there_no_more(play: Play, serve: Serve, gated: tuple[Playing, threading.Event]) -> None:
    engine, _ = gated
    with play(engine, drain_s=0.1) as client:
        job = client.job(expand={"adapters": []}, seed=2)["id"]
        while not engine.questions:
            time.sleep(0.01)
    with serve() as client:
        ended = client.until_done(job)
        assert ended["status"] == "succeeded"
        assert ended["expansion"]["reason"] == "the server has no prompt model any more"
        assert picture(client, ended) == dummy_bytes(PROMPT, 2)


@pytest.mark.slow
def test_a_killed_server_draws_the_same_picture(tmp_path: Path) -> None:
    server = RealServer(tmp_path, prompt_engine="echo", dummy_step_s=0.05)
    server.start()
    with Client(base_url=server.url, timeout=30) as client:
        jobs = [client.job(expand={}, seed=seed, steps=30)["id"] for seed in range(4)]
        while client.look(jobs[0])["status"] != "running":
            time.sleep(0.01)
    assert server.process is not None
    server.application().kill()
    server.process.kill()
    server.process.wait()
    server.start()
    try:
        with Client(base_url=server.url, timeout=30) as client:
            ended = [client.until_done(job) for job in jobs]
            expander = PromptExpander(open_engine("echo"), tokens=ClipTokens())
            for seed, job in enumerate(ended):
                own = expander.expand(ExpandRequest(prompt=PROMPT, preset=load_preset("photo"), seed=seed))
                assert job["expansion"]["prompt"] == own.prompt
                assert picture(client, job) == dummy_bytes(own.prompt, seed)
            assert max(job["attempts"] for job in ended) > 1
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore::skipstep.errors.DemoVocabularyWarning")
def test_a_picture_s_file_has_both_prompts(play: Play) -> None:
    demo = {"engine": "skipstep", "models": {"demo": "demo"}}
    with play(Playing(lambda _: iter(["on a table"])), **demo) as client:
        client.until_ready()
        job = client.until_done(client.job(steps=12, compare=True, expand={}, width=64, height=64)["id"])
        assert job["status"] == "succeeded", job["error"]
        for output in job["outputs"]:
            with Image.open(io.BytesIO(client.get(output["url"]).content)) as file:
                texts = dict(file.text)  # type: ignore[attr-defined]
            negative = job["expansion"]["negative"]
            assert texts["parameters"].startswith(f"{PROMPT}, on a table\nNegative prompt: {negative}\n")
            run = json.loads(texts["skipstep"])
            assert run["request"]["prompt"] == f"{PROMPT}, on a table"
            assert run["expansion"] == job["expansion"]
