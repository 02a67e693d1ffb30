"""The prompt LLM in a real server: what runs again, what is unloaded, and lists."""

from __future__ import annotations

import time
from typing import Any

import pytest
from host.client import ComfyClient, Graph
from host.graphs import picture_graph
from host.prompt_files import COOL, FILE, WARM

pytestmark = pytest.mark.usefixtures("prompt_files")

SEEDS = iter(range(time.time_ns() % 10**9, 2**32))  # that no earlier run has left an answer of on disk


def prompt_graph(engine: str = "gguf", *, seed: int, prompt: str = "a cat") -> Graph:
    loader = {"engine": engine, "model": FILE, "device": "cpu", "quantize": "none", "idle_seconds": 0.0}
    return {
        "loader": {"class_type": "SkipstepPromptLLMLoader", "inputs": loader},
        "expand": {
            "class_type": "SkipstepPromptExpand",
            "inputs": {"llm": ["loader", 0], "prompt": prompt, **asked(seed)},
        },
    }


def asked(seed: int) -> dict[str, Any]:
    how = {"temperature": -1.0, "max_clip_tokens": 616, "keep": True, "schema": False, "timeout": 60.0}
    return {"preset": "plain", "seed": seed, **how, "on_error": "raise", "unload_after": False}


def loaded(client: ComfyClient) -> list[str]:
    """The prompt models that ComfyUI counts as loaded, with their sizes."""
    graph = {"loaded": {"class_type": "TinyLoadedModels", "inputs": {}}}
    told = client.run(graph).outputs.get("loaded", {}).get("text", [])
    return [line for line in told if line.startswith("PromptModel")]


def test_the_same_inputs_are_not_asked_again(client: ComfyClient) -> None:
    graph = prompt_graph(seed=next(SEEDS))
    first = client.run(graph)
    assert first.status == "success", first.error
    assert first.executed() == ["loader", "expand"]
    again = client.run(graph)
    assert again.executed() == []
    assert again.outputs == first.outputs  # a page that was opened anew gets the text
    graph["expand"]["inputs"]["seed"] = next(SEEDS)
    assert client.run(graph).executed() == ["expand"]


def test_adapters_are_chained(client: ComfyClient) -> None:
    graph = prompt_graph(seed=next(SEEDS))
    texts = []
    for scales in ((1.0, 0.5), (1.0, -0.5), (0.0, 0.0)):
        llm = ["loader", 0]
        for name, adapter, scale in zip(("first", "second"), (WARM, COOL), scales, strict=True):
            inputs = {"llm": llm, "adapter": adapter, "scale": scale}
            graph[name] = {"class_type": "SkipstepPromptAdapter", "inputs": inputs}
            llm = [name, 0]
        graph["expand"]["inputs"].update(llm=llm, temperature=0.0)
        outcome = client.run(graph)
        assert outcome.status == "success", outcome.error
        (text,) = outcome.outputs["expand"]["text"]
        assert "adapters: warm@" in text
        texts.append(text.split("\n\n")[0])
    assert len(set(texts)) == 3


@pytest.mark.parametrize("with_cache", [False, True], ids=["models", "models-and-node-cache"])
def test_the_buttons_that_free_memory_unload_it(client: ComfyClient, with_cache: bool) -> None:
    graph = prompt_graph(seed=next(SEEDS))
    assert client.run(graph).status == "success"
    assert [int(line.split()[1]) > 100_000 for line in loaded(client)] == [True]
    client.free(unload_models=True, free_memory=with_cache)
    deadline = time.monotonic() + 60
    while loaded(client) and time.monotonic() < deadline:
        pass
    assert loaded(client) == []
    graph["expand"]["inputs"]["seed"] = next(SEEDS)
    again = client.run(graph)
    assert again.status == "success", again.error
    assert ("loader" in again.executed()) is with_cache
    assert len(loaded(client)) == 1


def test_a_batch_draws_a_picture_for_each_prompt(client: ComfyClient) -> None:
    graph = picture_graph(steps=2)
    prompts = prompt_graph("echo", seed=next(SEEDS))
    graph["loader"] = prompts["loader"]
    inputs = {"llm": ["loader", 0], "prompts": "a cat\na dog\na fox", **asked(1)}
    graph["batch"] = {"class_type": "SkipstepPromptExpandBatch", "inputs": inputs}
    graph["positive"]["inputs"]["text"] = ["batch", 0]
    graph["unload"] = {
        "class_type": "SkipstepPromptLLMUnload",
        "inputs": {"anything": ["positive", 0], "llm": ["loader", 0]},
    }
    graph["sampler"]["inputs"]["positive"] = ["unload", 0]
    outcome = client.run(graph)
    assert outcome.status == "success", outcome.error
    assert len(set(outcome.files["picture"])) == 3


def test_what_is_wrong_is_told_in_the_frontend(client: ComfyClient) -> None:
    graph = prompt_graph(seed=1)
    graph["loader"]["inputs"]["engine"] = "hf"
    outcome = client.run(graph)
    assert outcome.status == "error"
    assert outcome.error is not None
    assert outcome.error["node_id"] == "loader"
    assert "tiny.gguf is a GGUF file, which is for the engine gguf, got hf" in outcome.error["exception_message"]
