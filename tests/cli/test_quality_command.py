"""`skipstep quality` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from demo_model.evaluate import evaluation_subjects

from skipstep.cli.quality import quality
from skipstep.engine.prompts import demo_prompts, read_prompts
from skipstep.errors import OptionError, OutputError

SMALL = ("--width", "64", "--height", "64", "--steps", "10", "--cache", "balanced")


def _run(*arguments: str) -> None:
    app = typer.Typer()
    app.command()(quality)
    with pytest.raises(SystemExit) as stop:
        app(list(arguments))
    assert stop.value.code == 0


def _refusal(*arguments: str) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(quality)
    with pytest.raises((OptionError, OutputError)) as refusal:
        app(list(arguments))
    return str(refusal.value)


def test_it_writes_the_report_and_prints_the_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "report.html"
    prompts.write_text("# animals\n\na fox on a blue background\n  a cat on a red background  \na dog\n")
    _run("--prompts", str(prompts), "--limit", "2", "--first-seed", "5", *SMALL, "--out", str(out))
    printed = capsys.readouterr().out
    assert "report.html (report.md and report.json beside it)" in printed
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures["prompts"] == ["a fox on a blue background", "a cat on a red background"]
    assert figures["seeds"] == [5, 6]
    candidate, fewer = figures["rows"]
    assert (candidate["name"], candidate["kind"], fewer["kind"]) == ("balanced", "candidate", "fewer steps")
    assert candidate["equal_cost"] == fewer["name"]
    assert "balanced is " in printed
    assert fewer["name"] in printed
    assert len(figures["rows"][0]["cases"]) == 4
    assert "a cat on a red background" in out.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "prompts.txt",
        "report.html",
        "report.json",
        "report.md",
    ]


def test_the_demo_has_the_prompts_of_its_evaluation() -> None:
    assert list(demo_prompts()) == [subject.prompt for subject in evaluation_subjects(64)]
    assert len(set(demo_prompts())) == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--against", "teacher"), "against must be baseline, the uncached run of the same seed, got 'teacher'"),
        (("--seeds", "1"), "seeds must be two or more, got 1"),
        (("--seeds", "0"), "seeds must be two or more, got 0"),
        (("--first-seed", "4294967295"), "seed must be 0..4294967295, got 4294967296"),
        (("--cache", "fast", "--cache", "fast"), "cache must differ, got 'fast' twice"),
        (("--out", "report.pdf"), "the report must end in .html, got report.pdf"),
        (("--out", "missing/report.html"), "cannot write missing/report.html: no such file or directory"),
        (("--sampler", "eular"), "got 'eular'"),
        (("--prompts", "nowhere.txt"), "cannot read the prompts nowhere.txt: no such file or directory"),
        (("--prompts", "."), "cannot read the prompts .: is a directory"),
        (("--model", "folder"), "prompts must be given for folder: --prompts FILE, one prompt a line"),
        (("--cache", "best"), "got 'best'"),
    ],
)
def test_wrong_usage_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    assert message in _refusal(*options)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "p.txt holds no prompt; write one a line"),
        (b"\n# only a comment\n  \n", "p.txt holds no prompt"),
        (b"a cat\n\na caf\xe9\n", "p.txt, line 3, is not UTF-8 text; save the file as UTF-8"),
        ("a cat".encode("utf-16"), "p.txt, line 1, is not UTF-8 text"),
        (b"a cat\na dog\n a cat \n", "p.txt has 'a cat' in line 1 and again in line 3; remove one"),
    ],
)
def test_prompt_files_that_cannot_be_used(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes(data)
    with pytest.raises(OptionError) as refusal:
        read_prompts(file)
    assert message in str(refusal.value)


def test_prompts_are_read_as_people_save_them(tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffein Fuchs im Café\r\n#nothing\r\nno # comment, a cat".encode())
    assert read_prompts(file) == ("ein Fuchs im Café", "no # comment, a cat")
