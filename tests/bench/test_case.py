"""Benchmark cases: every one that ships loads, and what is wrong in a file is named with what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skipstep import DeepCache
from skipstep.bench import BenchCase, BenchRow, case_from, load_case, shipped_cases, with_backend
from skipstep.compile import CompileOptions
from skipstep.errors import OptionError

SHIPPED = ("cpu-unet", "demo", "demo-svd", "peers", "sdxl-unet", "sdxl-unet-512", "svd-unet", "svd-unet-25")
ROWS = """
[[row]]
name = "baseline"

[[row]]
name = "linear"
backend = "auto"
compile = { verify = true, max_graphs = 4 }
reuse = { interval = 4, branch = 1, forecast = "linear" }
"""


def written(folder: Path, text: str) -> str:
    file = folder / "mine.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def case(rows: tuple[Any, ...] = ({"name": "a"}, {"name": "b"}), **values: Any) -> BenchCase:
    return case_from({"title": "T", **values, "row": list(rows)})


def second(**values: Any) -> BenchCase:
    """A case whose second row has these values."""
    return case(({"name": "a"}, {"name": "b", **values}))


def test_the_names_of_the_shipped_cases() -> None:
    assert sorted(shipped_cases()) == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_case_loads_and_begins_with_a_plain_baseline(name: str) -> None:
    loaded = load_case(name)
    assert loaded.title
    assert loaded.rows[0] == BenchRow(name="baseline, eager")
    assert len({row.name for row in loaded.rows}) == len(loaded.rows) > 3


def test_a_file_is_read_with_its_tables_and_changes_come_over_it(tmp_path: Path) -> None:
    text = 'title = "Mine"\nmodel = "demo-sd15"\nsteps = 12\nprompts = ["a fox", "a car"]\n' + ROWS
    loaded = load_case(written(tmp_path, text), steps=14)
    assert loaded == BenchCase(
        title="Mine",
        model="demo-sd15",
        steps=14,
        prompts=("a fox", "a car"),
        rows=(
            BenchRow(name="baseline"),
            BenchRow(
                name="linear",
                backend="auto",
                compile=CompileOptions(verify=True, max_graphs=4),
                reuse=DeepCache(interval=4, branch=1, forecast="linear"),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title =", "mine.toml is not TOML"),
        ("", "the case has no title"),
        ('title = "T"', "a case needs two rows or more, the first being the baseline; got 0"),
        ('title = "T"\n[[row]]\nname = "a"', "a case needs two rows or more, the first being the baseline; got 1"),
        ('title = "T"\n[row]\nname = "a"', r"row must be tables, each under \[\[row\]\], got {'name': 'a'}"),
        ('title = "T"\nrow = ["a", "b"]', r"row must be tables, each under \[\[row\]\], got \['a', 'b'\]"),
        ('title = "T"\n[[rows]]\nname = "a"', "the case has no rows; it may have .* row,"),
    ],
)
def test_a_file_that_is_no_case(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_case(written(tmp_path, text))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("nowhere", str(tmp_path), str(tmp_path / "missing.toml")):
        with pytest.raises(OptionError, match="no case .*: give a TOML file or one of cpu-unet, demo-svd, demo, peers"):
            load_case(name)
    (tmp_path / "latin.toml").write_bytes('title = "é"'.encode("latin-1"))
    with pytest.raises(OptionError, match="latin.toml is not UTF-8 text"):
        load_case(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 3}, "the case has no speed; it may have device, .* width"),
        ({"steps": "x"}, "steps must be a whole number, got 'x'"),
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        ({"steps": 2.0}, "steps must be a whole number, got 2.0"),
        ({"steps": True}, "steps must be a whole number, got True"),
        ({"steps": 1001}, "steps must be 1..1000, got 1001"),
        ({"rounds": -1}, "rounds must be 1 or more, got -1"),
        ({"width": 100}, "width must be a multiple of 8 pixels, got 100; use 96"),
        ({"height": "64"}, "height must be a whole number, got '64'"),
        ({"threads": 0}, "threads must be 1 or more, got 0"),
        ({"seed": -1}, "seed must be 0..4294967295, got -1"),
        ({"seed": "x"}, "seed must be a whole number, got 'x'"),
        ({"guidance": "high"}, "guidance must be a number, got 'high'"),
        ({"guidance": float("nan")}, "guidance must be 0.0..50.0, got nan"),
        ({"sampler": "eular"}, "sampler must be one of euler, .*, got 'eular'"),
        ({"model": 3}, "model must be text, got 3"),
        ({"title": 3}, "title must be text, got 3"),
        ({"prompts": "a fox"}, "prompts must be a list of texts, got 'a fox'"),
        ({"prompts": ["a fox", 3]}, "prompt must be text, got 3"),
        ({"random_weights": "yes"}, "random_weights must be true or false, got 'yes'"),
        ({"frames": 3, "prompts": ["a fox"]}, "prompts and sampler are for pictures, and a case with frames"),
        ({"frames": 3, "sampler": "ddim"}, "prompts and sampler are for pictures, and a case with frames"),
        ({"random_weights": True}, "with random weights, model must be one of sdxl, .*, got 'demo'"),
        ({"random_weights": True, "model": "sdxl-tiny", "frames": 3}, "frames is for UNets of videos, got 3"),
        ({"random_weights": True, "model": "sdxl-tiny", "sampler": "ddim"}, "the loop of a random UNet is Euler's"),
        ({"random_weights": True, "model": "sdxl-tiny", "prompts": ["x"]}, "the loop of a random UNet is Euler's"),
        ({"random_weights": True, "model": "svd", "width": 72}, "width of a video must be a multiple of 64 pixels"),
    ],
)
def test_a_value_of_the_case_that_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        case(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "every row needs a name of one line, got ''"),
        ({"name": 3}, "every row needs a name of one line, got 3"),
        ({"name": "a\nb"}, "every row needs a name of one line"),
        ({"name": "a"}, "rows must have names of their own, got a twice"),
        ({"interval": 3}, "row 'b' has no interval; it may have backend, cache, compile, name, peer, reuse, steps"),
        ({"backend": "tensorrt"}, "row 'b': backend must be auto or one of eager, .*, got 'tensorrt'"),
        ({"backend": 1}, "row 'b': backend must be auto or one of eager, .*, got 1"),
        ({"peer": "onediff"}, "row 'b': peer must be one of deepcache, .*, got 'onediff'"),
        ({"cache": 3}, "row 'b': cache must be the name of a preset or of a plan file, got 3"),
        ({"cache": "fast", "reuse": {}}, "row 'b': give cache or reuse, not both"),
        ({"steps": "x"}, "row 'b': steps must be a whole number, got 'x'"),
        ({"steps": 0}, "row 'b': steps must be 1 or more, got 0"),
        ({"reuse": 3}, "reuse of row 'b' must be a table of options, .* got 3"),
        ({"reuse": "fast"}, "reuse of row 'b' must be a table of options, .* got 'fast'"),
        ({"reuse": {"gap": 3}}, "reuse of row 'b' has no gap; it may have branch, .* tolerance"),
        ({"reuse": {"interval": 0}}, "reuse of row 'b': interval must be 1 or more, got 0"),
        ({"reuse": {"interval": "x"}}, "reuse of row 'b': interval must be a whole number, got 'x'"),
        ({"reuse": {"branch": -1}}, "reuse of row 'b': branch must be 0 or more, got -1"),
        ({"reuse": {"forecast": "oracle"}}, "reuse of row 'b': forecast must be .* got 'oracle'"),
        ({"reuse": {"power": "x"}}, "reuse of row 'b' has a value of the wrong kind, {'power': 'x'}"),
        ({"compile": {"fast": True}}, "compile of row 'b' has no fast; it may have attention, .* verify"),
        ({"compile": {"verify": "no"}}, "compile of row 'b': verify must be true or false, got 'no'"),
        ({"compile": {"max_graphs": 1}}, "compile of row 'b': max_graphs must be 2 or more"),
        ({"compile": {"channels_last": True}}, "channels_last changes the UNet that all rows share, .*: False, True;"),
        ({"compile": {"attention": "sdpa"}}, "attention changes the UNet that all rows share, .*: auto, sdpa;"),
        ({"peer": "deepcache", "cache": "fast"}, "row 'b': deepcache is another library; leave cache, backend and"),
        ({"peer": "deepcache", "backend": "inductor"}, "row 'b': deepcache is another library"),
        ({"peer": "torch.compile", "reuse": {}}, "row 'b': torch.compile reuses nothing; leave reuse out"),
        ({"peer": "deepcache", "reuse": {"interval": 2}}, "deepcache knows interval and branch only"),
    ],
)
def test_a_value_of_a_row_that_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        second(**values)


def test_what_is_nearly_wrong_is_right() -> None:
    both = [{"name": name, "compile": {"channels_last": True}} for name in "ab"]
    assert case(tuple(both)).rows[1].compile.channels_last
    assert second(peer="deepcache", reuse={"interval": 2, "branch": 1, "forecast": "verbatim"}).rows[1].reuse
    assert case(random_weights=True, model="svd-tiny", frames=3, width=128, height=64).frames == 3
    assert case(guidance=7).guidance == 7


def test_random_unets_have_no_presets() -> None:
    with pytest.raises(OptionError, match="cache is for models with weights; give rows of random UNets `reuse`"):
        case(({"name": "a"}, {"name": "b", "cache": "fast"}), random_weights=True, model="sdxl-tiny")
    with pytest.raises(OptionError, match="with random weights, model must be one of"):
        load_case("peers", model="demo")


def test_a_backend_is_for_the_rows_that_say_auto() -> None:
    rows = ({"name": "a"}, {"name": "b", "backend": "auto"}, {"name": "c", "backend": "aot"})
    assert [row.backend for row in with_backend(case(rows), "openvino").rows] == ["eager", "openvino", "aot"]
    with pytest.raises(OptionError, match="backend must be auto or one of eager, .*, got 'bogus'"):
        with_backend(case(rows), "bogus")
    with pytest.raises(OptionError, match="backend is for rows that say \"auto\", and no row does; leave 'aot' out"):
        with_backend(case(), "aot")
