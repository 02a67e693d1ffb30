"""`skipstep prompt` and `skipstep image --expand` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from skipstep.cli import main


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


ECHO = ("--engine", "echo", "--seed", "3")


def test_a_prompt_alone_is_expanded(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, errors = run(capsys, "prompt", "a cat on a beach", *ECHO)
    assert (code, errors) == (0, "")
    lines = printed.splitlines()
    assert lines[0].startswith("prompt     a cat on a beach, ")
    assert [line.split()[0] for line in lines] == ["prompt", "added", "negative", "tokens", "engine"]
    assert "preset photo, seed 3" in lines[4]
    assert run(capsys, "prompt", "expand", "a cat on a beach", *ECHO)[1].splitlines()[0] == lines[0]
    assert run(capsys, "prompt", *ECHO, "a cat on a beach")[1].splitlines()[4].endswith("from disk")


def test_json_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, errors = run(capsys, "prompt", "a cat \u732b", *ECHO, "--json", "--stream", "--preset", "anime")
    made = json.loads(printed)
    assert code == 0
    assert made["prompt"].startswith("a cat \u732b, ")
    assert (made["reason"], made["preset"], made["cached"]) == (None, "anime", False)
    assert errors.startswith("a cat \u732b, ")  # what the engine wrote, before the prompt was taken off
    assert not json.loads(run(capsys, "prompt", "a cat \u732b", *ECHO, "--json", "--no-cache")[1])["cached"]


def test_a_dead_server_gives_the_prompt_and_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    server = ("--url", "http://127.0.0.1:1", "--model", "small")
    code, printed, errors = run(capsys, "prompt", "a cat", *server, "--json")
    made = json.loads(printed)
    assert (code, made["prompt"], made["engine"]) == (0, "a cat", "openai")
    assert errors == f"warning: the prompt is as it was: {made['reason']}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--preset", "oil"), 2, "or a .toml file, got 'oil'"),
        (("--engine", "gpt"), 2, "engine must be one of gguf, hf, openai, echo, got 'gpt'"),
        (("--engine", "openai"), 2, "needs the server's url and the name of a model"),
        (("--engine", "echo", "--model", "x"), 2, "the engine echo has no use for model, got 'x'"),
        (("--engine", "gguf", "--url", "http://h"), 2, "the engine gguf has no use for url"),
        (("--engine", "echo", "--timeout", "0"), 2, "timeout_s must be 0.01..3600, got 0.0"),
        ((), 1, "`skipstep prompt fetch` gets one"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, printed, errors = run(capsys, "prompt", "a cat", *arguments)
    assert (found, printed) == (code, "")
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_presets_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cinematic  Film still" in run(capsys, "prompt", "presets")[1]
    for asked in ((), ("--help",)):
        code, printed, _ = run(capsys, "prompt", *asked)
        assert code == 0
        assert all(name in printed for name in ("expand", "fetch", "presets"))


def test_a_picture_of_an_expanded_prompt_tells_of_both(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    size = ("--width", "64", "--height", "64", "--steps", "10", "--seed", "3")
    out = tmp_path / "fox.png"
    options = ("--expand", "plain", "--expand-engine", "echo", "--out", str(out))
    code, printed, _ = run(capsys, "image", "a red fox", *size, *options)
    assert code == 0
    with Image.open(out) as picture:
        texts = dict(picture.text)  # type: ignore[attr-defined]
    stored = json.loads(texts["skipstep"])
    drawn = stored["request"]["prompt"]
    assert drawn.startswith("a red fox, ")
    assert texts["parameters"].startswith(drawn)
    assert f"expanded   {drawn}" in printed
    assert (stored["expansion"]["original"], stored["expansion"]["prompt"]) == ("a red fox", drawn)
    assert stored["expansion"]["seed"] == 3
