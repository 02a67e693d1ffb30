"""`skipstep video` as a person meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from skipstep.cli import main
from skipstep.engine.video_files import read_texts

SMALL = ("--width", "64", "--height", "64", "--frames", "3", "--steps", "10", "--seed", "3")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(("video", *arguments))
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in.png"
    image = Image.new("RGB", (80, 60), (70, 130, 225))
    image.paste((220, 60, 60), (20, 20, 44, 44))
    image.save(path)
    return path


def test_writes_the_clip_and_says_what_it_cost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture: Path
) -> None:
    out = tmp_path / "clip.webp"
    code, printed, errors = _run(capsys, str(picture), "--out", str(out), *SMALL, "--interval", "3")
    assert (code, errors) == (0, "")
    assert "3 frames, 64 x 64, seed 3" in printed
    assert "4 full + 6 reuse: FrrrrFFFrr" in printed
    with Image.open(out) as clip:
        assert (clip.size, clip.n_frames) == ((64, 64), 3)
    assert json.loads(read_texts(out)["skipstep"])["request"]["motion"] == 127
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.webp", "in.png"]


def test_compare_writes_both_and_a_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path, picture: Path) -> None:
    out = tmp_path / "clip.mp4"
    code, printed, _ = _run(capsys, str(picture), "--out", str(out), *SMALL, "--cache", "fast", "--compare")
    assert code == 0
    assert re.search(r"sampling loop x\d+\.\d\d", printed)
    assert re.search(r"PSNR \d+\.\d dB \(median; frame \d: \d+\.\d dB\), SSIM 0\.\d+ at least", printed)
    assert re.search(r"flicker +\d+\.\d\d levels at most", printed)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"in.png", "clip.mp4", "clip-compare.mp4", "clip-compare.png", "clip-compare.svg"}
    comparison = json.loads(read_texts(out)["skipstep"])["comparison"]
    assert len(comparison["psnr_db"]) == 3


def test_a_prompt_draws_the_first_frame(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "fox.gif"
    code, printed, errors = _run(capsys, "--prompt", "a fox on a blue background", "--out", str(out), *SMALL)
    assert (code, errors) == (0, "")
    assert "fox-start.png" in printed
    with Image.open(tmp_path / "fox-start.png") as start:
        assert start.size == (64, 64)
    with Image.open(out) as clip:
        assert clip.n_frames == 3


def test_frames_may_be_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, picture: Path) -> None:
    code, _, _ = _run(capsys, str(picture), "--out", f"{tmp_path}/frames/", *SMALL, "--cache", "lossless")
    assert code == 0
    assert len(list((tmp_path / "frames").glob("*.png"))) == 3


@pytest.mark.slow
def test_costs_are_shown_without_running(capsys: pytest.CaptureFixture[str], tmp_path: Path, picture: Path) -> None:
    code, printed, _ = _run(capsys, str(picture), "--costs", *SMALL, "--out", str(tmp_path / "never.mp4"))
    assert code == 0
    assert re.search(r"^ +0 \* +\d+\.\d %", printed, re.MULTILINE)
    assert len(re.findall(r"^ +\d+ [* ]? *\d+\.\d %", printed, re.MULTILINE)) == 12
    assert re.search(r"memory +\d+\.\d\d GiB besides weights", printed)
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "give a picture, or --prompt"),
        (("IN", "--prompt", "a fox"), 2, "give a picture, or --prompt"),
        (("nowhere.png",), 2, "nowhere.png"),
        (("IN", "--rounds", "2"), 2, "rounds is for --compare, got 2"),
        (("IN", "--image-model", "demo"), 2, "image-model is for --prompt, got demo"),
        (("IN", "--out", "clip.avi"), 2, "clip.avi"),
        (("IN", "--frames", "0"), 2, "frames must be 1..128, got 0"),
        (("IN", "--fps", "61"), 2, "fps must be 1..60, got 61"),
        (("IN", "--motion", "-1"), 2, "motion must be 0..511, got -1"),
        (("IN", "--width", "100"), 2, "width must be a multiple of 8 pixels, got 100; use 96"),
        (("IN", "--feature-dtype", "int4"), 2, "feature_dtype"),
        (("IN", "--feature-device", "moon"), 2, "feature_device"),
        (("IN", "--branch", "12"), 2, "branch must be 0..11"),
        (("IN", "--model", "demo"), 1, "`skipstep image` runs it"),
        (("IN", "--model", "nowhere"), 2, "no model at nowhere"),
        (("IN", "--cache", "best"), 2, "cache must be one of lossless, quality, balanced, fast, got 'best'"),
    ],
)
def test_wrong_usage_is_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(picture) if argument == "IN" else argument for argument in arguments]
    returned, printed, errors = _run(capsys, *given)
    assert (returned, printed) == (code, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_an_interrupt_leaves_nothing_half_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skipstep.engine.video_decode.FrameDecoder.decode", stop)
    code, _, errors = _run(capsys, str(picture), "--out", str(tmp_path / "clip.mp4"), *SMALL)
    assert code == 1
    assert errors == "error: interrupted; no result was written\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
