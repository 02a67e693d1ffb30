"""Expansions on disk: given again for the same request, and missing where anything is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ScriptedEngine

from skipstep.errors import OptionError
from skipstep.promptllm import ClipTokens, ExpandRequest, ExpansionFolder, Preset, PromptExpander, load_preset


@pytest.fixture
def request_(photo: Preset) -> ExpandRequest:
    return ExpandRequest(prompt="a cat", preset=photo, seed=1)


def test_the_same_request_is_answered_once(clip: ClipTokens, request_: ExpandRequest, tmp_path: Path) -> None:
    engine = ScriptedEngine("warm light, \u732b")
    kept = ExpansionFolder(tmp_path / "prompts")
    made = PromptExpander(engine, tokens=clip, kept=kept).expand(request_)
    again = PromptExpander(engine, tokens=clip, kept=kept).expand(replace(request_, timeout_s=5))
    assert len(engine.questions) == 1
    assert (made.cached, again.cached) == (False, True)
    assert replace(again, cached=False, seconds=0) == replace(made, seconds=0)


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a cat "},
        {"seed": 2},
        {"max_tokens": 9},
        {"temperature": 0.1},
        {"keep": False},
        {"max_clip_tokens": 50},
    ],
)
def test_another_request_is_asked_anew(
    clip: ClipTokens, request_: ExpandRequest, tmp_path: Path, changed: dict[str, object]
) -> None:
    engine = ScriptedEngine("warm light")
    expander = PromptExpander(engine, tokens=clip, kept=ExpansionFolder(tmp_path))
    expander.expand(request_)
    assert not expander.expand(replace(request_, **changed)).cached  # type: ignore[arg-type]
    assert len(engine.questions) == 2


def test_another_model_or_preset_is_asked_anew(clip: ClipTokens, request_: ExpandRequest, tmp_path: Path) -> None:
    kept = ExpansionFolder(tmp_path)
    PromptExpander(ScriptedEngine("warm light"), tokens=clip, kept=kept).expand(request_)
    other = PromptExpander(ScriptedEngine("dim", identity="scripted 2"), tokens=clip, kept=kept)
    assert other.expand(request_).added == "dim"
    same = PromptExpander(ScriptedEngine("dim"), tokens=clip, kept=kept)
    assert same.expand(request_).added == "warm light"
    assert same.expand(replace(request_, preset=load_preset("anime"))).added == "dim"
    edited = replace(request_.preset, sha256="0" * 64)
    assert same.expand(replace(request_, preset=edited)).added == "dim"


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", "\x00" * 10, "cut"])
def test_a_broken_file_is_a_miss_and_is_made_anew(
    clip: ClipTokens, request_: ExpandRequest, tmp_path: Path, text: str
) -> None:
    expander = PromptExpander(ScriptedEngine("warm light"), tokens=clip, kept=ExpansionFolder(tmp_path))
    expander.expand(request_)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:90] if text == "cut" else text)
    assert not expander.expand(request_).cached
    assert expander.expand(request_).cached


@pytest.mark.parametrize("change", [{"key": "0"}, {"prompt": 3}, {"reason": "odd"}, {"more": 1}, {"seconds": None}])
def test_a_changed_entry_is_a_miss(
    clip: ClipTokens, request_: ExpandRequest, tmp_path: Path, change: dict[str, object]
) -> None:
    expander = PromptExpander(ScriptedEngine("warm light"), tokens=clip, kept=ExpansionFolder(tmp_path))
    expander.expand(request_)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    made = expander.expand(request_)
    assert (made.added, made.cached) == ("warm light", False)


def test_failures_are_not_kept(clip: ClipTokens, request_: ExpandRequest, tmp_path: Path) -> None:
    expander = PromptExpander(ScriptedEngine("", fails="away"), tokens=clip, kept=ExpansionFolder(tmp_path))
    assert expander.expand(request_).reason == "away"
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_go_when_there_are_too_many(clip: ClipTokens, request_: ExpandRequest, tmp_path: Path) -> None:
    expander = PromptExpander(ScriptedEngine("warm light"), tokens=clip, kept=ExpansionFolder(tmp_path, limit=3))
    (tmp_path / "mine.txt").write_text("not ours")
    for seed in range(6):
        expander.expand(replace(request_, seed=seed))
    assert len(list(tmp_path.glob("*.json"))) == 3
    assert expander.expand(replace(request_, seed=5)).cached
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(OptionError, match="1 or more, got 0"):
        ExpansionFolder(tmp_path, limit=0)


def test_a_folder_that_cannot_be_written_to_keeps_nothing(
    clip: ClipTokens, request_: ExpandRequest, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    expander = PromptExpander(ScriptedEngine("warm light"), tokens=clip, kept=ExpansionFolder(tmp_path / "file"))
    assert [expander.expand(request_).cached for _ in range(2)] == [False, False]
