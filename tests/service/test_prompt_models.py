"""Real engines behind the routes: llama.cpp with a tiny model and with SmolLM2, and one server that asks another."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from conftest import Play, Serve
from prompt_engines import Playing, slow
from real_server import running
from served import Client, serving
from test_chat_api import ASKED, of
from tiny_folder import tiny_base, tiny_gguf

from skipstep.promptllm import fetched_model

pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install 'skipstep[prompt]'")
PROMPT = "a cat on a beach"
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A server with a Llama of random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    file = tiny_gguf(tiny_base(folder / "tiny", context=2048), folder / "tiny.gguf")
    with serving(folder, prompt_engine="gguf", prompt_model=str(file)) as client:
        yield client


def test_a_model_is_loaded_answers_and_is_unloaded(tiny: Client) -> None:
    body = {"prompt": PROMPT, "seed": 1, "temperature": 1.0}
    made = tiny.post("/v1/prompt/expand", json=body).json()
    assert made["prompt"].startswith(PROMPT)
    assert (made["engine"], made["model"]) == ("gguf", "tiny.gguf")
    (model,) = tiny.get("/v1/prompt/models").json()["models"]
    assert (model["name"], model["state"]) == ("tiny.gguf", "loaded")
    assert "LoRA" in model["families"]
    assert tiny.post("/v1/prompt/unload").json()["freed_bytes"] == model["loaded_bytes"] > 0
    again = tiny.post("/v1/prompt/expand", json=body).json()
    assert {**again, "seconds": 0} == {**made, "seconds": 0}


def test_chats_and_json(tiny: Client) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    with of(tiny) as ai:
        ask = ai.chat.completions.create
        texts = [ask(model="tiny.gguf", messages=ASKED, seed=seed, max_tokens=12) for seed in (1, 1, 2)]
        said = [one.choices[0].message.content for one in texts]
        assert said[0] == said[1] != said[2]
        assert texts[0].choices[0].finish_reason in ("length", "stop")
        for seed in range(5):
            made = ask(model="auto", messages=ASKED, seed=seed, response_format=form)
            answer = json.loads(made.choices[0].message.content or "")
            assert answer["colour"] in ("red", "blue")
            assert 1 <= answer["count"] <= 9
        chunks = list(ask(model="auto", messages=ASKED, seed=1, max_tokens=12, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said[0]


def test_a_chat_that_is_too_long_for_the_model(tiny: Client) -> None:
    long: Any = [{"role": "user", "content": "a cat " * 3000}]
    with of(tiny) as ai, pytest.raises(openai.InternalServerError, match="exceeds the available context") as refused:
        ai.chat.completions.create(model="auto", messages=long)
    assert refused.value.status_code == 502
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert tiny.get("/readyz").status_code == 200


def test_one_server_asks_another(tiny: Client, serve: Serve) -> None:
    url = str(tiny.base_url)
    with serve(prompt_engine="openai", prompt_url=url, prompt_model="tiny.gguf") as client:
        body = {"prompt": PROMPT, "seed": 1, "temperature": 1.0}
        made = client.post("/v1/prompt/expand", json=body).json()
        assert (made["engine"], made["model"], made["reason"]) == ("openai", "tiny.gguf", None)
        assert made["prompt"] != PROMPT
        job = client.until_done(client.job(expand={"temperature": 1.0}, seed=3)["id"])
        assert job["expansion"]["reason"] is None
    with serve(prompt_engine="openai", prompt_url=url, prompt_model="another") as client:
        made = client.post("/v1/prompt/expand", json={"prompt": PROMPT}).json()
        assert made["prompt"] == PROMPT
        assert "the server answered with status 400" in made["reason"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skipstep.errors.DemoVocabularyWarning")
@pytest.mark.skipif(not fetched_model().is_file(), reason="needs `skipstep prompt fetch`")
def test_smollm2(serve: Serve) -> None:
    demo = {"engine": "skipstep", "models": {"demo": "demo"}}
    with (
        serve(prompt_engine="gguf", prompt_idle_s=600, **demo) as client,
        of(client) as ai,
    ):
        made = client.post("/v1/prompt/expand", json={"prompt": PROMPT, "preset": "photo", "seed": 1}).json()
        assert made["reason"] is None
        assert made["prompt"].startswith(f"{PROMPT}, ")
        assert made["clip_tokens"] <= 77
        named = client.get("/v1/prompt/adapters").json()["adapters"]
        assert made["adapters"] == [f"{one['name']}@1" for one in named]  # the usual one, where it is there
        answer = ai.chat.completions.create(
            model="gguf", messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0
        )
        assert "Paris" in (answer.choices[0].message.content or "")
        json_form: Any = {"type": "json_object"}
        answer = ai.chat.completions.create(model="gguf", messages=ASKED, seed=1, response_format=json_form)
        if answer.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)
        job = client.until_done(client.job(expand={"schema": True}, steps=12, width=64, height=64)["id"])
        assert job["expansion"]["reason"] is None
        assert job["expansion"]["prompt"].startswith("a red apple, ")


@pytest.mark.slow
def test_clients_that_leave_the_real_server_stop_the_model(play: Play, tmp_path: Path) -> None:
    engine = Playing(slow)
    body = {"model": "auto", "messages": ASKED, "stream": True}
    with play(engine) as model:
        options = {"prompt_engine": "openai", "prompt_url": model.base_url, "prompt_model": "auto"}
        (tmp_path / "real").mkdir()
        with running(tmp_path / "real", **options) as server, Client(base_url=server.url, timeout=30) as client:
            for path, sent in (("prompt/expand", {"prompt": PROMPT, "stream": True}), ("chat/completions", body)):
                with client.stream("POST", f"/v1/{path}", json=sent) as answer:
                    next(answer.iter_lines())
                assert engine.left.acquire(timeout=10), path
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/prompt/expand", json={"prompt": PROMPT}, timeout=1)
            assert engine.left.acquire(timeout=10)
            job = client.job(expand={})["id"]
            while len(engine.questions) < 4:
                time.sleep(0.01)
            client.post(f"/v1/jobs/{job}/cancel")
            assert engine.left.acquire(timeout=10)
