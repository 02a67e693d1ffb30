"""/v1/prompt: expansions over HTTP, whatever the model and the client do."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Play
from prompt_engines import Hanging, Playing, dead, refusing, slow, words
from served import Client, parsed, serving
from skipstep_service.prompts import line, opening
from skipstep_service.settings import settings_of

from skipstep.errors import OptionError
from skipstep.promptllm import ClipTokens, PromptExpander, load_preset, open_engine
from skipstep.promptllm import ExpandRequest as Asked

PROMPT = "a cat on a beach"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with the engine echo."""
    folder = tmp_path_factory.mktemp("prompt")
    (folder / "presets").mkdir()
    (folder / "presets" / "mine.toml").write_text('title = "Mine"\nsystem = "Add."\n[words]\nall = ["blue", "red"]\n')
    with serving(folder, prompt_engine="echo", prompt_presets=str(folder / "presets")) as client:
        yield client


def expand(client: Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/prompt/expand", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def figure(client: Client, name: str, *labels: str) -> float:
    """The sum of a figure's lines that have these labels."""
    lines = [one for one in client.get("/metrics").text.splitlines() if one.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(one.rpartition(" ")[2]) for one in lines if all(label in one for label in labels))


def streamed(client: Client, **fields: Any) -> list[dict[str, Any]]:
    with client.stream("POST", "/v1/prompt/expand", json={"prompt": PROMPT, "stream": True, **fields}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(parsed(answer.iter_lines()))


def test_an_expansion_is_that_of_the_package(echo: Client, clip: ClipTokens) -> None:
    made = expand(echo, preset="cinematic", seed=7)
    own = PromptExpander(open_engine("echo"), tokens=clip)
    expected = own.expand(Asked(prompt=PROMPT, preset=load_preset("cinematic"), seed=7))
    ours = json.loads(json.dumps(expected.as_dict()))
    assert {**made, "seconds": 0} == {"original": PROMPT, **ours, "seconds": 0}
    assert made["prompt"].startswith(f"{PROMPT}, ")
    assert made["reason"] is None
    assert expand(echo, preset="cinematic", seed=8)["prompt"] != made["prompt"]


def test_fields_reach_the_model(play: Play) -> None:
    engine = Playing(lambda _: iter(['{"prompt": "a dog, soft light, fog", "negative_prompt": "blurry, dog"}']))
    with play(engine) as client:
        made = expand(
            client, keep=False, schema=True, temperature=0.5, max_tokens=9, max_clip_tokens=8, seed=3, preset="plain"
        )
    (question,) = engine.questions
    assert (question.temperature, question.max_tokens, question.seed) == (0.5, 9, 3)
    assert question.schema is not None
    assert made["prompt"] == "a dog, soft light"  # seven tokens of CLIP's with the ends; two more are too many
    assert made["clip_tokens"] == 7
    assert made["negative"] == "blurry, dog"
    assert made["preset"] == "plain"


def test_a_stream_has_what_the_model_writes_then_the_whole(play: Play) -> None:
    with play(Playing()) as client:
        events = streamed(client, seed=1)
        assert [event["event"] for event in events] == ["text", "text", "expansion", "done"]
        assert [event["data"]["text"] for event in events[:2]] == ["soft light, ", "film grain"]
        made = events[2]["data"]
        assert made["prompt"] == f"{PROMPT}, soft light, film grain"
        assert {**made, "seconds": 0} == {**expand(client, seed=1), "seconds": 0}


def test_presets_models_and_readiness(echo: Client) -> None:
    presets = echo.get("/v1/prompt/presets").json()["presets"]
    assert [preset["name"] for preset in presets] == ["anime", "cinematic", "illustration", "photo", "plain", "mine"]
    assert presets[-1] == {"name": "mine", "title": "Mine", "negative": ""}
    assert expand(echo, preset="mine")["added"] in ("blue", "red")
    (model,) = echo.get("/v1/prompt/models").json()["models"]
    assert model == {
        "name": "echo",
        "engine": "echo",
        "state": "not loaded",
        "loaded_bytes": 0,
        "families": [],
        "adapters": [],
    }
    assert echo.get("/readyz").json() == {"status": "ready", "prompt_model": "not loaded"}
    assert [model["id"] for model in echo.get("/v1/models").json()["data"]] == ["dummy", "dummy-video", "echo"]


def test_many_at_once_are_answered_as_alone(echo: Client) -> None:
    requests = [{"prompt": f"prompt {number}", "seed": number, "preset": "photo"} for number in range(64)]
    answer = echo.post("/v1/prompt/expand_batch", json={"requests": requests})
    assert answer.status_code == 200
    made = answer.json()["expansions"]
    alone = [expand(echo, **request) for request in requests[:3]]
    assert [{**one, "seconds": 0} for one in made[:3]] == [{**one, "seconds": 0} for one in alone]
    assert [one["original"] for one in made] == [request["prompt"] for request in requests]
    for count in (0, 65):
        many = {"requests": [{"prompt": "x"}] * count}
        assert echo.post("/v1/prompt/expand_batch", json=many).status_code == 422


def test_a_batch_of_a_model_that_breaks(play: Play) -> None:
    with play(Playing(dead)) as client:
        requests = [{"prompt": "one", "seed": 1}, {"prompt": "two", "schema": True}]
        made = client.post("/v1/prompt/expand_batch", json={"requests": requests}).json()["expansions"]
    assert [one["prompt"] for one in made] == ["one", "two"]
    assert made[0]["seed"] == 1
    assert {one["reason"] for one in made} == {"the prompt model failed: RuntimeError"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"preset": "nothing"}, "preset must be one of anime, cinematic, .* got 'nothing'"),
        ({"preset": "../photo"}, "preset: "),
        ({"preset": "/etc/passwd.toml"}, "preset: "),
        ({"adapters": [{"name": "photo"}]}, "there is no adapter 'photo'; there are: none"),
        ({"adapters": [{"name": "../photo"}]}, "adapters.0.name: "),
        ({"adapters": [{"name": "photo", "scale": 2.5}]}, "adapters.0.scale: .* 2"),
        ({"adapters": [{"name": "a"}] * 5}, "adapters: "),
        ({"prompt": ""}, "the prompt must be text to expand, got ''"),
        ({"prompt": " \n "}, "the prompt must be text to expand"),
        ({"prompt": "x" * 4001}, "prompt: .*4000"),
        ({"prompt": 7}, "prompt: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**32}, "seed: "),
        ({"seed": True}, "seed: "),
        ({"temperature": 2.1}, "temperature: .*2"),
        ({"max_tokens": 0}, "max_tokens: .*1"),
        ({"max_clip_tokens": 2}, "max_clip_tokens: .*3"),
        ({"timeout_s": 0}, "timeout_s: .*0.1"),
        ({"schema": "yes please"}, "schema: "),
        ({"with_schema": True}, "with_schema: "),
        ({"unknown": 1}, "unknown: "),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_refused(echo: Client, fields: dict[str, Any], said: str, stream: bool) -> None:
    answer = echo.post("/v1/prompt/expand", json={"prompt": PROMPT, "stream": stream, **fields})
    assert answer.status_code == 422, answer.text
    assert re.search(said, answer.json()["error"]["message"]), answer.text
    batch = echo.post("/v1/prompt/expand_batch", json={"requests": [{"prompt": PROMPT, **fields}]})
    assert batch.status_code == 422


def test_a_server_without_a_model(client: Client) -> None:
    for method, path, body in (
        ("POST", "expand", {"prompt": PROMPT}),
        ("POST", "expand_batch", {"requests": [{"prompt": PROMPT}]}),
        ("GET", "adapters", None),
        ("POST", "adapters", {"folder": "x"}),
        ("POST", "adapters/inspect", {"folder": "x"}),
        ("DELETE", "adapters/x", None),
        ("POST", "unload", None),
    ):
        answer = client.request(method, f"/v1/prompt/{path}", json=body)
        assert answer.status_code == 404, path
        assert "SKIPSTEP_PROMPT_ENGINE" in answer.json()["error"]["message"]
    assert client.get("/v1/prompt/models").json() == {"models": []}
    assert client.get("/v1/prompt/presets").json() == {"presets": []}
    assert client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize(
    ("script", "reason"),
    [(dead, "the prompt model failed: RuntimeError"), (refusing, "the model is gone"), (lambda _: iter(()), "nothing")],
)
def test_a_model_that_gives_nothing_gives_the_prompt_back(play: Play, script: Any, reason: str) -> None:
    with play(Playing(script)) as client:
        made = expand(client, preset="photo", seed=5)
        assert (made["prompt"], made["original"], made["added"], made["seed"]) == (PROMPT, PROMPT, "", 5)
        assert reason in made["reason"]
        events = streamed(client, seed=5)
        assert [event["event"] for event in events][-2:] == ["expansion", "done"]
        assert reason in events[-2]["data"]["reason"]
        assert figure(client, "skipstep_prompt_questions_total", 'kind="expand"') == 2
        assert figure(client, "skipstep_prompt_questions_total", 'outcome="answered"') == 0


def test_a_model_that_hangs_gives_the_prompt_back_in_time(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "GRACE_S", 0.1)
    engine = Hanging()
    with play(engine, prompt_timeout_s=0.3) as client:
        for number in range(line.MAX_HUNG):
            started = time.monotonic()
            made = expand(client, seed=number)
            assert time.monotonic() - started < 2
            assert made["prompt"] == PROMPT
            assert "within" in made["reason"]
        made = expand(client)
        assert made["reason"] == "the prompt model hangs; the server has to be restarted"
        assert client.get("/readyz").json() == {"status": "ready", "prompt_model": "hangs"}
        assert figure(client, "skipstep_prompt_hangs") == 1
        assert client.until_done(client.job()["id"])["status"] == "succeeded"
        engine.let_go.set()
        while expand(client)["reason"] is not None:
            time.sleep(0.01)


def test_a_request_has_its_own_timeout(play: Play) -> None:
    def late(_: Any) -> Iterator[str]:
        time.sleep(0.5)
        yield "late"

    engine = Playing(late)
    with play(engine, prompt_timeout_s=30) as client:
        expand(client, timeout_s=0.7)
        expand(client, timeout_s=3000)
        now = time.monotonic()
    assert engine.questions[0].deadline < now
    assert engine.questions[1].deadline < now + 30  # the server's own at most


def test_a_client_that_leaves_stops_the_model(play: Play) -> None:
    engine = Playing(slow)
    with play(engine) as client:
        with client.stream("POST", "/v1/prompt/expand", json={"prompt": PROMPT, "stream": True}) as answer:
            next(answer.iter_lines())
        assert engine.left.acquire(timeout=10)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/prompt/expand", json={"prompt": PROMPT}, timeout=0.3)
        assert engine.left.acquire(timeout=10)
        engine.script = words
        assert expand(client)["reason"] is None
        for outcome, count in (("stopped", 2), ("answered", 1), ("failed", 0)):
            assert figure(client, "skipstep_prompt_questions_total", 'kind="expand"', f'outcome="{outcome}"') == count
        assert figure(client, "skipstep_prompt_seconds_count") == 3


def test_too_many_questions(play: Play) -> None:
    gate = threading.Event()

    def waits(_: Any) -> Iterator[str]:
        gate.wait(20)
        yield "soft light"

    engine = Playing(waits)
    with play(engine, prompt_max_queue=2) as client, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(expand, client, seed=0)]
        while not engine.questions:
            time.sleep(0.005)
        asked += [pool.submit(expand, client, seed=number) for number in (1, 2)]
        while figure(client, "skipstep_prompt_waiting") < 2:
            time.sleep(0.01)
        for path, body in (
            ("prompt/expand", {"prompt": PROMPT}),
            ("prompt/expand", {"prompt": PROMPT, "stream": True}),
            ("prompt/expand_batch", {"requests": [{"prompt": PROMPT}]}),
            ("chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "x"}]}),
        ):
            answer = client.post(f"/v1/{path}", json=body)
            assert answer.status_code == 429, path
            assert int(answer.headers["Retry-After"]) >= 1
        gate.set()
        assert [one.result()["reason"] for one in asked] == [None] * 3


def test_the_model_is_unloaded(play: Play) -> None:
    engine = Playing()
    with play(engine) as client:
        expand(client)
        assert client.get("/readyz").json()["prompt_model"] == "loaded"
        assert figure(client, "skipstep_prompt_loaded_bytes") == 12345
        assert client.post("/v1/prompt/unload").json() == {"freed_bytes": 12345}
        assert client.post("/v1/prompt/unload").json() == {"freed_bytes": 0}
        assert client.get("/v1/prompt/models").json()["models"][0]["state"] == "not loaded"
        assert expand(client)["reason"] is None
    assert not engine.is_loaded  # nor when the server has ended


def test_a_server_that_ends_stops_the_model(play: Play) -> None:
    engine = Playing(slow)
    body = {"prompt": PROMPT, "stream": True}
    with play(engine, drain_s=0.1) as client, client.stream("POST", "/v1/prompt/expand", json=body) as answer:
        next(answer.iter_lines())
        client.job(expand={})
    assert engine.left.acquire(timeout=10)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompt_model": "x.gguf"}, "prompt_model is set, but there is no prompt model; set SKIPSTEP_PROMPT_ENGINE"),
        ({"prompt_engine": "echo", "prompt_adapters": "x"}, "the engine echo takes no adapters; use gguf or hf"),
        ({"prompt_engine": "llama"}, "prompt_engine"),
        ({"prompt_engine": "echo", "prompt_timeout_s": 0}, "prompt_timeout_s"),
        ({"prompt_engine": "echo", "prompt_max_queue": 0}, "prompt_max_queue"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        settings_of(**settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prompt_engine": "openai", "prompt_model": "x"}, "needs the server's url"),
        ({"prompt_engine": "gguf", "prompt_model": "missing.gguf"}, "missing.gguf"),
        ({"prompt_engine": "echo", "prompt_presets": "missing"}, "prompt_presets must be a folder"),
        ({"prompt_engine": "echo", "prompt_device": "cpu"}, "no use for device"),
    ],
)
def test_what_the_server_does_not_start_with(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opening.open_prompting(settings_of(**settings))


def test_presets_of_the_operator_are_checked_when_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("title = 7")
    with pytest.raises(OptionError, match="title of the preset broken must be text"):
        opening.open_prompting(settings_of(prompt_engine="echo", prompt_presets=str(tmp_path)))
    (tmp_path / "broken.toml").rename(tmp_path / "a b.toml")
    with pytest.raises(OptionError, match=r"prompt_presets has 'a b.toml'"):
        opening.open_prompting(settings_of(prompt_engine="echo", prompt_presets=str(tmp_path)))
