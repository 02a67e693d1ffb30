"""The LoRA that ships: sound, small, for the default model, and what its data is; with the model, what it changes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from prompt_rewriter.data import write_data
from prompt_rewriter.pairs import pairs
from prompt_rewriter.places import PLACES
from prompt_rewriter.styles import STYLES
from prompt_rewriter.subjects import HELD_OUT, SUBJECTS

from skipstep.adapters import inspect_adapter
from skipstep.promptllm import (
    AdapterUse,
    ClipTokens,
    ExpandRequest,
    GgufEngine,
    HfEngine,
    PromptExpander,
    fetched_model,
    load_preset,
    rewriter_folder,
    shipped_presets,
    unpacked_model,
)
from skipstep.promptllm.asked import Asked, question

HAS_GGUF = importlib.util.find_spec("xllamacpp") is not None and fetched_model().is_file()
USED = (AdapterUse(name="rewriter"),)


def test_it_is_a_small_lora_for_the_default_model_in_any_precision() -> None:
    info = inspect_adapter(rewriter_folder())
    assert (info.family, {module.scale for module in info.modules}) == ("LoRA", {1.0})
    assert info.bytes <= 1_000_000
    made_for = info.base
    assert made_for is not None
    sizes = (made_for.architecture, made_for.hidden_size, made_for.layers, made_for.vocab_size, made_for.sample)
    assert sizes == ("llama", 576, 30, 49152, "")


def test_it_is_trained_on_what_the_engines_are_asked(tmp_path: Path) -> None:
    write_data(tmp_path / "d.jsonl", SUBJECTS, chats=1, length=3, seed=1)
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert len(lines) == len(STYLES) == len(shipped_presets())
    for preset, line in zip(STYLES, lines, strict=True):
        request = ExpandRequest(prompt=line["prompt"][-1]["content"], preset=load_preset(preset))
        asked = question(Asked(request=request, adapters=(), started=0.0), frozenset())
        assert line["prompt"] == [{"role": turn.role, "content": turn.text} for turn in asked.messages]
        assert [turn["role"] for turn in line["completion"]] == ["assistant", "user"] * 2 + ["assistant"]


@pytest.mark.parametrize("preset", STYLES)
def test_answers_are_phrases_of_the_lists_and_never_repeat(preset: str) -> None:
    found = list(pairs(preset, SUBJECTS, count=100, seed=3))
    assert len({prompt for prompt, _ in found}) == 100
    for _, added in found:
        phrases = added.split(", ")
        assert len(phrases) == len(set(phrases)) >= 5
    assert list(pairs(preset, SUBJECTS, count=100, seed=3)) == found
    assert list(pairs(preset, SUBJECTS, count=100, seed=4)) != found


def test_what_is_measured_with_was_not_trained_on() -> None:
    assert not set(HELD_OUT) & set(SUBJECTS)
    named = {word for subject in HELD_OUT for word in subject.split()[1:]}
    trained = {
        word for preset in STYLES for prompt, _ in pairs(preset, SUBJECTS, count=256, seed=1) for word in prompt.split()
    }
    assert {"submarine", "raccoon", "elephant", "typewriter", "phoenix"} <= named - trained
    assert {place for places in (*SUBJECTS.values(), *HELD_OUT.values()) for place in places} <= set(PLACES)


def said(asked: PromptExpander, preset: str, *, adapters: tuple[AdapterUse, ...]) -> list[str]:
    """What is added greedily to a prompt that was not trained on."""
    request = ExpandRequest(
        prompt="a raccoon in a forest", preset=load_preset(preset), seed=1, temperature=0.0, adapters=adapters
    )
    return asked.expand(request).added.split(", ")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_GGUF, reason="needs xllamacpp, and the model of `skipstep prompt fetch`")
def test_it_has_the_model_write_in_the_presets_style(clip: ClipTokens) -> None:
    asked = PromptExpander(GgufEngine(fetched_model()), tokens=clip)
    shares = {"plain": 0, "rewriter": 0}
    for preset, lists in STYLES.items():
        own = {phrase for phrases in lists if isinstance(phrases, tuple) for phrase in phrases}
        for name, uses in (("plain", ()), ("rewriter", USED)):
            shares[name] += len(own & set(said(asked, preset, adapters=uses)))
    asked.close()
    assert shares["rewriter"] >= shares["plain"] + 5


@pytest.mark.slow
@pytest.mark.skipif(not unpacked_model().is_dir(), reason="needs `skipstep prompt fetch --transformers`")
def test_transformers_writes_with_it_too(clip: ClipTokens) -> None:
    asked = PromptExpander(HfEngine(unpacked_model()), tokens=clip)
    plain, rewritten = (said(asked, "photo", adapters=uses) for uses in ((), USED))
    asked.close()
    own = {phrase for phrases in STYLES["photo"] if isinstance(phrases, tuple) for phrase in phrases}
    assert len(own & set(rewritten)) >= 3 > len(own & set(plain))
