"""Prompt Expand and Prompt Expand Batch, called as ComfyUI's executor calls them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import folder_paths
import pytest
from host.process import Core, Pack
from host.prompt_calls import EXPAND, expand, expand_batch, fingerprint, load, with_engine
from host.prompt_engines import Recorded
from host.prompt_files import FOLDER

from skipstep.errors import OptionError
from skipstep.promptllm import ClipTokens, HfEngine

PRESET = """
title = "Mine"
system = "You describe postcards."
negative = "torn"
[words]
paper = ["{word}"]
"""

pytestmark = pytest.mark.usefixtures("pack", "own_cache")


@pytest.fixture
def llm(core: Core) -> Any:
    return load(core)


def test_a_prompt_stays_and_details_follow(core: Core, llm: Any) -> None:
    prompt, added, negative, info = expand(core, llm)
    assert prompt == f"a cat on a beach, {added}"
    assert len(added.split(", ")) > 3
    assert "watermark" in negative
    assert f"tokens: {ClipTokens().count(prompt)} of 77" in info
    assert "engine: echo, echo, preset photo, seed 1" in info
    assert expand(core, llm)[:3] == (prompt, added, negative)
    assert expand(core, llm, seed=2)[0] != prompt
    assert expand(core, llm, preset="anime")[0] != prompt


def test_the_node_shows_what_it_made(core: Core, llm: Any) -> None:
    node = core.node("SkipstepPromptExpand").PREPARE_CLASS_CLONE(None)
    (text,) = node.execute(llm=llm, prompt="a cat", **EXPAND).ui["text"]
    prompt, info = text.split("\n\n")
    assert prompt.startswith("a cat, ")
    assert info.startswith("tokens: ")


def test_options_reach_the_model(core: Core, pack: Pack) -> None:
    engine = Recorded()
    llm = with_engine(pack, engine)
    expand(core, llm)
    expand(core, llm, temperature=0.0, keep=False, schema=True, seed=5, timeout=7.0)
    usual, asked = engine.questions
    assert usual.temperature > 0
    assert (usual.schema, asked.temperature, asked.seed) == (None, 0.0, 5)
    assert asked.schema is not None
    assert "rewritten" in asked.messages[0].text
    assert asked.deadline - time.monotonic() < 7.0 < usual.deadline - time.monotonic()
    assert expand(core, llm, max_clip_tokens=12)[1].count(",") < expand(core, llm)[1].count(",")


def test_an_empty_prompt_is_refused(core: Core, llm: Any) -> None:
    with pytest.raises(OptionError, match="the prompt must be text to expand"):
        expand(core, llm, " ")


def test_a_preset_of_the_users_is_offered_and_followed(
    core: Core, llm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "prompt_presets", ([str(tmp_path)], set()))
    file = tmp_path / "sub" / "mine.toml"
    file.parent.mkdir()
    file.write_text(PRESET.format(word="faded print"))
    offered = core.node("SkipstepPromptExpand").INPUT_TYPES()["required"]["preset"]
    assert {"photo", "sub/mine.toml"} <= set(offered[1]["options"])
    inputs = {**EXPAND, "preset": "sub/mine.toml"}
    assert expand(core, llm, **inputs)[:3] == ("a cat on a beach, faded print", "faded print", "torn")
    before = fingerprint(core, "SkipstepPromptExpand", **inputs)
    assert fingerprint(core, "SkipstepPromptExpand", **inputs) == before
    file.write_text(PRESET.format(word="scalloped edge"))
    assert fingerprint(core, "SkipstepPromptExpand", **inputs) != before
    assert expand(core, llm, **inputs)[1] == "scalloped edge"
    with pytest.raises(OptionError, match="there is no preset 'other.toml' in models/prompt_presets; there are: "):
        expand(core, llm, preset="other.toml")


def test_a_batch_is_its_prompts_one_by_one(core: Core, llm: Any) -> None:
    single = [expand(core, llm, prompt, seed=seed) for prompt, seed in (("a cat", 1), ("a dog", 2), ("a cat", 3))]
    for prompts in (["a cat\n\n  a dog \na cat"], ["a cat", "a dog", "a cat"]):
        given = expand_batch(core, llm, prompts)
        assert [tuple(values) for values in given[:3]] == [tuple(one[place] for one in single) for place in range(3)]
        assert all(f"seed {seed}" in info for seed, info in zip((1, 2, 3), given[3], strict=True))
        assert len(set(given[0])) == 3


def test_an_engine_that_can_is_asked_for_many_at_once(
    core: Core, pack: Pack, prompt_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = HfEngine(prompt_files / "LLM" / FOLDER, device="cpu")
    llm = with_engine(pack, engine)
    greedy = {"preset": "plain", "temperature": 0.0, "max_clip_tokens": 616}
    prompts = [f"{word} cat" for word in ("a", "one", "the", "no", "my", "our", "his", "her", "its", "any")]
    single = [expand(core, llm, prompt, **greedy)[0] for prompt in prompts]
    counts: list[int] = []
    real = engine.generate_all
    monkeypatch.setattr(engine, "generate_all", lambda asked: counts.append(len(asked)) or real(asked))
    assert expand_batch(core, llm, prompts, **greedy)[0] == single
    assert counts == [8, 2]
    llm.close()


def test_seeds_of_a_batch_begin_anew_after_the_last_one(core: Core, llm: Any) -> None:
    infos = expand_batch(core, llm, ["a\nb"], seed=2**32 - 1)[3]
    assert ["seed 4294967295" in infos[0], "seed 0" in infos[1]] == [True, True]


def test_a_batch_of_nothing_is_refused(core: Core, llm: Any) -> None:
    with pytest.raises(OptionError, match="prompts must have at least one line"):
        expand_batch(core, llm, [" \n"])
