"""`skipstep plan`, and `skipstep image --cache` with what it wrote."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from skipstep.cli import main
from skipstep.cli._plan_benches import split_prompts
from skipstep.errors import OptionError

SMALL = ("--width", "64", "--height", "64")
DRAW = ("image", "a fox on a blue background", *SMALL, "--seed", "3")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the plan p.json for 10 steps at twice the speed, and what was printed."""
    path = tmp_path_factory.mktemp("plan")
    with pytest.MonkeyPatch.context() as patch, (path / "printed.txt").open("w") as printed:
        patch.chdir(path)
        patch.setattr(sys, "stdout", printed)
        with pytest.raises(SystemExit) as stop:
            main(("plan", "demo", "--steps", "10", "--speed", "2", "--limit", "9", "-o", "p.json", *SMALL))
        assert not stop.value.code
    return path


def test_a_plan_is_written_and_told_of(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text()
    names = {"p.json", "p.safetensors", "p.png", "p.svg", "printed.txt"}
    assert {file.name for file in folder.iterdir()} == names
    plan = json.loads((folder / "p.json").read_text())
    figures = plan["measured"]
    assert (plan["model"], plan["steps"], plan["evaluations"], figures["prompts"]) == ("demo", 10, 10, 3)
    assert figures["flop_speedup"] >= 2
    assert f"{figures['flop_speedup']:.2f} by UNet FLOPs ({plan['full_passes']} full passes)" in printed
    assert f"{figures['latent_psnr_db']:.1f} dB latent PSNR, median of 3 held-out prompts" in printed


def test_the_command_that_it_names_draws_with_the_plan(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (line,) = (line for line in (folder / "printed.txt").read_text().splitlines() if line.startswith("use "))
    _, program, command, prompt, *options = shlex.split(line)
    assert (program, command, prompt) == ("skipstep", "image", "PROMPT")
    code, printed, errors = _run(capsys, *DRAW, *options, "--out", "a.png")
    assert (code, errors) == (0, "")
    plan = json.loads((folder / "p.json").read_text())
    assert "".join("F" if word == "F" else "r" for word in plan["passes"].split()) in printed
    assert f"p.json: plan for euler, 10 steps, measured {plan['measured']['latent_psnr_db']} dB" in printed
    with Image.open("a.png") as picture:
        assert json.loads(picture.text["skipstep"])["request"]["cache"] == "p.json"  # type: ignore[attr-defined]
    Path("a.png").unlink()


def test_a_stretched_plan_is_one_line_of_warning(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    cache = ("--cache", str(folder / "p.json"), "--steps", "14", "--out", str(tmp_path / "a.png"))
    code, printed, errors = _run(capsys, *DRAW, *cache)
    assert code == 0
    assert errors.startswith("warning: the plan was measured with euler at 10 steps and is stretched to euler at 14")
    assert errors.count("\n") == 1
    assert "stretched to this run" in printed


def _damaged(folder: Path, name: str, target: Path) -> Path:
    """A copy of the plan with one thing wrong."""
    plan = json.loads((folder / "p.json").read_text())
    slopes = (folder / "p.safetensors").read_bytes()
    text = json.dumps(plan)
    if name == "half":
        text = text[: len(text) // 2]
    elif name == "slopes":
        slopes = slopes[:-8]
    elif name == "weights":
        plan["fingerprint"]["weights"] = [weight + 0.3 for weight in plan["fingerprint"]["weights"]]
        text = json.dumps(plan)
    if name != "alone":
        (target / "p.safetensors").write_bytes(slopes)
    if name != "missing":
        (target / "p.json").write_text(text)
    return target / "p.json"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weights", "error: the plan was measured on another model (demo)"),
        ("missing", "error: cannot read the plan "),
        ("alone", "error: cannot read the plan "),
        ("half", "p.json is not a whole plan (JSONDecodeError: "),
        ("slopes", "p.json is not a whole plan (SafetensorError: "),
    ],
)
def test_a_plan_that_does_not_fit_is_one_line(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, name: str, message: str
) -> None:
    file, out = _damaged(folder, name, tmp_path), tmp_path / "a.png"
    code, _, errors = _run(capsys, *DRAW, "--steps", "10", "--cache", str(file), "--out", str(out))
    assert (code, errors.count("\n")) == (2, 1)
    assert message in errors
    assert not out.exists()


@pytest.mark.parametrize("option", [("--interval", "2"), ("--branch", "1"), ("--forecast", "verbatim")])
def test_a_plan_is_not_changed(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    cache = ("--cache", str(folder / "p.json"), *option, "--out", str(tmp_path / "a.png"))
    code, _, errors = _run(capsys, *DRAW, *cache)
    assert (code, errors.count("\n")) == (2, 1)
    assert f"{option[0]} cannot change a plan" in errors


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "give one of --speed, --psnr and --lpips"),
        (("--speed", "2", "--psnr", "40"), 2, "give one of --speed, --psnr and --lpips"),
        (("--speed", "0.5"), 2, "speed must be above 1 and at most 100, got 0.5"),
        (("--speed", "2", "--steps", "0"), 2, "steps must be 1..1000, got 0"),
        (("--speed", "2", "-o", "plan.txt"), 2, "a plan must end in .json, got plan.txt"),
        (("--speed", "2", "-o", "missing/p.json"), 1, "cannot write missing/p.json: no such file or directory"),
        (("--speed", "2", "-o", "model.json"), 2, "would replace model.safetensors, which is not of a plan"),
        (("--speed", "2", "--limit", "5"), 2, "a plan needs 6 prompts or more, got 5"),
        (("--speed", "2", "--prompts", "missing.txt"), 2, "cannot read the prompts missing.txt"),
        (("--speed", "2", "--sampler", "dpm2", "--steps", "10", "--limit", "6"), 2, "does not tell its noise levels"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"unet.weight": torch.ones(2)}, "model.safetensors")
    weights = Path("model.safetensors").read_bytes()
    returned, _, errors = _run(capsys, "plan", "demo", *SMALL, *options)
    assert (returned, errors.count("\n")) == (code, 1)
    assert message in errors
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("model.safetensors", weights)]


def test_no_prompt_is_both_searched_on_and_held_out() -> None:
    texts = tuple(f"prompt {index}" for index in range(10))
    searched, held = split_prompts(texts)
    assert sorted((*searched, *held)) == sorted(texts)
    assert (len(searched), len(held)) == (7, 3)
    with pytest.raises(OptionError, match="6 prompts or more, got 5"):
        split_prompts(texts[:5])
