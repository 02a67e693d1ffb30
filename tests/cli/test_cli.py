"""The command line as a person meets it: what it prints, returns and leaves behind."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from skipstep import __version__
from skipstep.cli import _console, main
from skipstep.cli._console import PassBars
from skipstep.engine import SAMPLERS, ImageEngine, caches

FOX = ("image", "a fox on a blue background", "--width", "64", "--height", "64", "--steps", "11", "--seed", "3")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_image_writes_the_picture_and_says_what_it_cost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "nearest_plan", lambda *_, **__: None)
    out = tmp_path / "fox.png"
    code, printed, errors = _run(capsys, *FOX, "--out", str(out))
    assert (code, errors) == (0, "")
    assert "4 full + 7 reuse: FrrFrrFrrrF" in printed
    assert "64 x 64, seed 3" in printed
    with Image.open(out) as picture:
        assert picture.size == (64, 64)
    assert list(tmp_path.iterdir()) == [out]


def test_compare_writes_a_sheet_and_prints_the_difference(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, printed, _ = _run(capsys, *FOX, "--out", str(tmp_path / "fox.png"), "--compare", "--rounds", "1")
    assert code == 0
    assert re.search(r"sampling loop x\d+\.\d\d", printed)
    assert re.search(r"PSNR \d+\.\d dB, SSIM 0\.\d+, latents", printed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fox-compare.png", "fox.png"]


def test_a_prompt_is_not_markup_on_a_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(_console, "console", Console(file=screen, force_terminal=True, markup=False, width=120))
    options = ("--width", "64", "--height", "64", "--steps", "12", "--out", str(tmp_path / "a.png"))
    code, _, _ = _run(capsys, "image", "a fox [/b]", *options)
    assert code == 0
    assert "a fox [/b]" in screen.getvalue()


def test_options_override_the_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ("--cache", "fast", "--interval", "4", "--branch", "2", "--forecast", "verbatim")
    code, printed, _ = _run(capsys, *FOX, *options, "--out", str(tmp_path / "a.png"))
    assert code == 0
    assert "interval 4, branch 2, verbatim forecast" in printed
    assert "FrrrrFrrrrF" in printed


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--branch", "9"), 2, "branch must be 0..8 for this UNet (9 skips), got 9; 0 is fastest"),
        (("--branch", "-1"), 2, "branch must be 0 or more, got -1"),
        (("--interval", "0"), 2, "interval must be 1 or more, got 0"),
        (("--width", "100"), 2, "width must be a multiple of 8 pixels, got 100; use 96"),
        (("--steps", "0"), 2, "steps must be 1..1000, got 0"),
        (("--steps", "many"), 2, "Invalid value for '--steps'"),
        (("--cache", "best"), 2, "cache must be one of lossless, quality, balanced, fast, got 'best'"),
        (
            ("--forecast", "oracle"),
            2,
            "quadratic_log_sigma, calibrated or have history_size and predict, got 'oracle'",
        ),
        (("--sampler", "eular"), 2, "got 'eular'"),
        (("--model", "nowhere"), 2, "no model at nowhere"),
        (("--device", "abacus"), 2, "got 'abacus'"),
        (("--out", "missing/a.png"), 1, "cannot write missing/a.png: no such file or directory"),
        (("--out", "a.bmp"), 2, "must end in .png, got a.bmp"),
        (("--rounds", "0"), 2, "Invalid value for '--rounds'"),
        (("--rounds", "3"), 2, "rounds is for --compare, got 3"),
        (("--config", "x"), 2, "config is for a single file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    returned, _, errors = _run(capsys, *FOX, *options)
    assert returned == code
    assert message in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_pickle_and_a_broken_file_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, content, code, message in (
        ("a.ckpt", b"\x80\x04", 2, "is a pickle"),
        ("a.safetensors", b"\x10\x00\x00", 1, "is not a whole safetensors file"),
    ):
        (tmp_path / name).write_bytes(content)
        options = ("--model", str(tmp_path / name), "--out", str(tmp_path / "a.png"))
        returned, _, errors = _run(capsys, *FOX, *options)
        assert (returned, errors.count("\n")) == (code, 1)
        assert message in errors
        assert not (tmp_path / "a.png").exists()


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, errors = _run(capsys, *FOX, "--steps", "0", "--debug")
    assert "Traceback" in errors
    assert errors.rstrip().endswith("error: steps must be 1..1000, got 0")


def test_a_bug_of_ours_is_one_line_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero\nsecond line")

    monkeypatch.setattr(ImageEngine, "generate", broken)
    code, _, errors = _run(capsys, *FOX)
    assert (code, errors) == (1, "error: unexpected ZeroDivisionError: by zero; --debug shows where\n")


def test_our_warnings_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ("--steps", "4", "--out", str(tmp_path / "a.png"), "--compare", "--rounds", "1")
    code, _, errors = _run(capsys, "image", "a unicorn", "--width", "64", "--height", "64", *options)
    assert code == 0
    assert [line[:40] for line in errors.splitlines()] == [
        "warning: the demo model does not know: u",
        "warning: 4 steps: below 10 neighbouring ",
    ]


def test_ctrl_c_is_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[str] = []

    def interrupt_at_the_fifth(evaluation: int, _: int, kind: str) -> None:
        passes.append(kind)
        if evaluation == 4:
            raise KeyboardInterrupt  # as Python does on the signal

    monkeypatch.setattr(PassBars, "follow", lambda *_: interrupt_at_the_fifth)
    code, _, errors = _run(capsys, *FOX, "--out", str(tmp_path / "a.png"))
    assert (code, errors) == (1, "error: interrupted; no result was written\n")
    assert len(passes) == 5
    assert not list(tmp_path.iterdir())


def test_help_names_every_sampler_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, _ = _run(capsys, "image", "--help")
    assert code == 0
    assert ", ".join(SAMPLERS) in " ".join(printed.split())
    code, printed, _ = _run(capsys)
    assert code == 0
    assert all(command in printed for command in ("image", "plan", "quality", "models", "doctor"))


def test_models_and_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKIPSTEP_ONEFLOW_PYTHON", raising=False)
    code, printed, _ = _run(capsys, "models")
    assert code == 0
    assert "strawberry" in printed
    assert re.search(r"sdxl\s+balanced\s+3\s+0\s+linear", printed)
    code, printed, _ = _run(capsys, "doctor")
    assert code == 0
    assert re.search(r"backend eager: torch 2\.", printed)
    assert "backend oneflow: not available: not set up: make an environment with" in printed
    assert re.search(r"torch\s+2\.", printed)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "--version") == (0, f"skipstep {__version__}\n", "")
