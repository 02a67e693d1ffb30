"""`skipstep bench` as a person meets it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from skipstep.bench import load_case, shipped_cases
from skipstep.cli import main

SMALL = """
title = "Small"
model = "sdxl-tiny"
random_weights = true
width = 32
height = 32
steps = 3
rounds = 1
device = "cpu"

[[row]]
name = "base"

[[row]]
name = "quick [/b]"
reuse = { interval = 3, forecast = "verbatim" }

[[row]]
name = "graphs"
compile = { cuda_graphs = true }
"""
WITH_WEIGHTS = (
    'title = "Fox"\nwidth = 64\nheight = 64\nsteps = 10\nrounds = 1\nprompts = ["a fox on a blue background"]\n'
)
ROWS = '[[row]]\nname = "base"\n[[row]]\nname = "balanced"\nbackend = "auto"\ncache = "balanced"\n'


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(("bench", *arguments))
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.v2.toml").write_text(SMALL)
    return tmp_path


def test_alone_it_lists_the_cases(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, errors = _run(capsys)
    assert (code, errors) == (0, "")
    expected = [f"{name:<16} {load_case(name).title}" for name in shipped_cases()]
    assert printed.splitlines() == expected


def test_a_case_of_random_weights_from_file_to_plots(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    code, printed, errors = _run(
        capsys, "small.v2.toml", "--random-weights", "--out", str(small / "a" / "b"), "--width", "64"
    )
    assert (code, errors) == (0, "")
    names = ["small.v2.json", "small.v2.md", "small.v2-waterfall.png", "small.v2-waterfall.svg"]
    assert sorted(path.name for path in (small / "a" / "b").iterdir()) == sorted(names)
    assert printed.splitlines()[0] == "Small (here width 64), 3 steps"
    assert re.search(r"^base +1\.00 +\d+\.\d +100% +equal$", printed, re.MULTILINE)
    assert re.search(r"^quick \[/b\] +\d\.\d\d +\d+\.\d +\d+\.\d +\d+% *$", printed, re.MULTILINE)
    assert "left out   graphs: cuda_graphs is not for the eager backend" in printed
    assert f"written    {', '.join(str(small / 'a' / 'b' / name) for name in names)}\n" in printed
    text = (small / "a" / "b" / names[0]).read_text()
    assert str(small) not in text
    data = json.loads(text)
    typed = "skipstep bench small.v2.toml --random-weights --out b --width 64"
    assert data["environment"]["command"] == typed
    assert f"`{typed}`" in (small / "a" / "b" / names[1]).read_text()
    assert (data["case"]["width"], data["case"]["height"], data["rows"][1]["passes"]) == (64, 32, "Frr")
    assert "| quick [/b] |" in (small / "a" / "b" / names[1]).read_text()
    with Image.open(small / "a" / "b" / names[2]) as plot:
        assert plot.width > 500
    code, printed, errors = _run(capsys, "compare", *[f"a/b/{names[0]}"] * 2)
    assert (code, errors) == (0, "")
    assert "| base | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 1.00 | equal | equal |" in printed


def test_a_case_with_weights_has_pictures_to_compare(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    (small / "fox.toml").write_text(WITH_WEIGHTS + ROWS)
    code, _, errors = _run(capsys, "fox.toml", "--backend", "eager", "--out", ".")
    assert (code, errors) == (0, "")
    base, balanced = json.loads((small / "fox.json").read_text())["rows"]
    assert (base["psnr_db"], base["ssim"]) == (None, 1)
    assert 15 < balanced["psnr_db"] < 60
    assert 10 < balanced["latent_psnr_db"] < 60
    assert balanced["passes"].count("r") >= 4
    assert balanced["backend"] == "eager"
    for name in ("fox-waterfall.png", "fox-waterfall.svg", "fox-pareto.png", "fox-pareto.svg"):
        assert (small / name).stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nope",), 2, "no case 'nope': give a TOML file or one of cpu-unet, demo-svd, demo, peers"),
        ((".",), 2, "no case '.'"),
        (("demo", "peers"), 2, "give one case, got demo, peers"),
        (("compare",), 2, "compare takes two results of `skipstep bench`, got 0"),
        (("compare", "a.json"), 2, "compare takes two results of `skipstep bench`, got 1"),
        (("compare", "a", "b", "c"), 2, "compare takes two results of `skipstep bench`, got 3"),
        (("compare", "a.json", "b.json"), 2, "a.json is not a result of `skipstep bench`"),
        (("compare", "small.v2.toml", "b.json"), 2, "small.v2.toml is not a result of `skipstep bench`"),
        (("demo", "--random-weights"), 2, "demo is a case with weights"),
        (("demo", "--backend", "bogus"), 2, "backend must be auto or one of eager, "),
        (("small.v2.toml", "--backend", "eager"), 2, "backend is for rows that say"),
        (("small.v2.toml", "--model", "flux"), 2, "with random weights, model must be one of sdxl, "),
        (("small.v2.toml", "--frames", "3"), 2, "frames is for UNets of videos, got 3 for 'sdxl-tiny'"),
        (("small.v2.toml", "--width", "100"), 2, "width must be a multiple of 8 pixels, got 100"),
        (("small.v2.toml", "--rounds", "0"), 2, "Invalid value for '--rounds'"),
        (("small.v2.toml", "--device", "abacus"), 2, "got 'abacus'"),
        (("small.v2.toml", "--dtype", "float8"), 2, "dtype must be one of auto, "),
        (("small.v2.toml", "--out", "small.v2.toml"), 1, "cannot write to small.v2.toml: File exists"),
        (("small.v2.toml", "--out", "small.v2.toml/a"), 1, "cannot write to small.v2.toml/a: Not a directory"),
        (("small.v2.toml", "--out", "/proc"), 1, "cannot write /proc/small.v2.json"),
        (("small.v2.toml", "--out", ".", "--graphs", "small.v2.toml/a"), 1, "cannot keep graphs in small.v2.toml/a"),
    ],
)
def test_wrong_usage_is_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], small: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    returned, _, errors = _run(capsys, *arguments)
    assert returned == code
    assert message in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    written = [path.name for path in small.rglob("*") if path.is_file()]
    assert written == ["small.v2.toml"]


def test_without_matplotlib_there_are_no_plots_and_the_figures_are_kept(
    capsys: pytest.CaptureFixture[str], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    code, printed, _ = _run(capsys, "small.v2.toml", "--out", "out")
    assert code == 0
    assert "no plots: plots need matplotlib: pip install 'skipstep[plot]'" in printed
    assert sorted(path.name for path in (small / "out").iterdir()) == ["small.v2.json", "small.v2.md"]
