"""The result as JSON and as a table: strict, whole, and blank only where there was nothing to compare."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from fakes_of_bench import FakeSubject, picture, run_fake

from skipstep import DeepCache
from skipstep.bench import BenchRow, as_dict, as_json, as_markdown
from skipstep.bench.report import COLUMNS, cells
from skipstep.compile import CompileOptions
from skipstep.errors import OptionError

NAMES = ("base", "same", "pixels | only", "other", "broken", "peer")


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def in_table(markdown: str) -> list[list[str]]:
    """The cells of every line of the table."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Rows of every kind, read back from their JSON."""
    subject = FakeSubject(dict.fromkeys(NAMES, 1.0))
    subject.images = lambda row, _: picture(1 if row.name == "other" else 0)
    last = {"pixels | only": 7.001, "other": 7.5, "broken": math.nan}
    subject.latents = lambda row, _: torch.tensor([0.0, 1.0, last.get(row.name, 7.0)])
    rows = (
        BenchRow(name="base"),
        BenchRow(name="same", compile=CompileOptions(max_graphs=5)),
        BenchRow(name="pixels | only", reuse=DeepCache(interval=3)),
        BenchRow(name="other", reuse=DeepCache(interval=3)),
        BenchRow(name="broken", reuse=DeepCache(interval=3, tolerance=None)),
        BenchRow(name="left out", compile=CompileOptions(cuda_graphs=True)),
        BenchRow(name="peer", peer="torch.compile"),
    )
    read: dict[str, Any] = strict(as_json(as_dict(run_fake(monkeypatch, subject, rows))))
    return read


def test_the_json_is_strict_and_holds_what_it_was_measured_with(data: dict[str, Any]) -> None:
    assert data["title"] == "A fake"
    assert data["case"]["steps"] == 4
    assert "rows" not in data["case"]
    facts = data["environment"]
    assert facts["versions"]["torch"] == torch.__version__
    assert (facts["device"], facts["threads"], facts["clock"]) == ("cpu", 1, "cpu")
    base, _, _, _, broken, left_out, peer = data["rows"]
    assert base["options"]["name"] == "base"
    assert base["latent_psnr_db"] is None
    assert broken["latent_relative_error"] is None
    assert broken["is_finite"] is False
    assert set(left_out) == {"name", "backend", "skipped"}
    assert peer["flop_ceiling"] is peer["share_of_ceiling"] is None
    assert "passes" not in peer
    assert data["rows"][2]["options"]["reuse"]["interval"] == 3


def test_it_says_what_was_typed_and_of_which_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_fake(monkeypatch, FakeSubject({"base": 1.0, "b": 1.0}), (BenchRow(name="base"), BenchRow(name="b")))
    result = replace(result, commit="1234567-dirty")
    data = as_dict(result, command="skipstep bench mine.toml")
    facts = data["environment"]
    assert (facts["command"], facts["commit"]) == ("skipstep bench mine.toml", "1234567-dirty")
    assert "\n`skipstep bench mine.toml`, commit 1234567-dirty\n" in as_markdown(data)
    unknown = as_dict(replace(result, commit=None))  # from Python, installed as a wheel
    assert (unknown["environment"]["command"], unknown["environment"]["commit"]) == (None, None)
    assert "commit" not in as_markdown(unknown)


def test_no_path_of_the_machine_is_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject(dict.fromkeys(("base", "a /b/c", "failed"), 1.0))
    subject.refusal = {"refused": OptionError("cannot read '/home/ann/x.json': no such file")}
    rows = (BenchRow(name="base"), BenchRow(name="a /b/c"), BenchRow(name="refused", cache="/home/ann/plans/x.json"))
    rows += (BenchRow(name="failed"),)
    result = run_fake(monkeypatch, subject, rows, model="/home/ann/my models/sdxl")
    result = replace(result, case=replace(result.case, title="Of (here model /data/ann/m)"))
    result.rows[3].compiled = {
        "failures": ["full pass: OSError: [Errno 28] /tmp/torch_ann/ab/k.cpp: no space, see https://a.b/c"]
    }
    data = as_dict(result)
    assert data["title"] == "Of (here model m)"
    assert data["case"]["model"] == "sdxl"
    assert data["rows"][1]["name"] == "a /b/c"  # is what somebody called it
    assert data["rows"][2]["skipped"] == "cannot read 'x.json': no such file"
    assert data["rows"][3]["compiled"]["failures"] == [
        "full pass: OSError: [Errno 28] k.cpp: no space, see https://a.b/c"
    ]
    assert "ann/" not in as_json(data)


def test_what_json_cannot_hold_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = FakeSubject({"base": 1.0, "b": 1.0})
    result = run_fake(monkeypatch, subject, (BenchRow(name="base"), BenchRow(name="b")))
    result.rows[1].warm_up_s = math.inf
    result.rows[1].compiled = {"seconds": [math.nan, 1.0]}
    json.dumps(as_dict(result), allow_nan=False, default=str)
    row = strict(as_json(as_dict(result)))["rows"][1]
    assert row["warm_up_s"] is None
    assert row["compiled"] == {"seconds": [None, 1.0]}


def test_every_row_has_as_many_cells_as_there_are_headings(data: dict[str, Any]) -> None:
    markdown = as_markdown(data)
    head, rule, *rows = in_table(markdown)
    assert tuple(head) == COLUMNS
    assert {len(row) for row in (head, rule, *rows)} == {len(COLUMNS)}
    assert [row[0] for row in rows] == ["base", "same", r"pixels \| only", "other", "broken", "peer"]
    assert "- left out: left out, cuda_graphs is not for the eager backend" in markdown
    assert "its own CPU seconds, median of 2 interleaved rounds" in markdown


def test_pictures_are_equal_or_have_a_psnr_and_nothing_to_compare_is_blank(data: dict[str, Any]) -> None:
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in in_table(as_markdown(data))[2:]}
    assert [rows["same"][key] for key in ("PSNR", "SSIM", "latents")] == ["equal", "1.0000", "equal"]
    assert rows[r"pixels \| only"]["PSNR"] == "equal"  # of 8 bits; the latents tell
    assert re.fullmatch(r"\d\d\.\d dB", rows[r"pixels \| only"]["latents"])
    assert re.fullmatch(r"\d\.\d dB", rows["other"]["PSNR"])
    assert rows["broken"]["latents"] == "not finite"
    for row in data["rows"]:
        if row["name"] == "base":
            blank = cells({**row, "ssim": None, "latent_relative_error": None})  # as of random weights
            assert [blank[COLUMNS.index(key)] for key in ("PSNR", "SSIM", "latents")] == ["", "", ""]


def test_figures_of_the_passes_are_in_their_units(data: dict[str, Any]) -> None:
    rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in in_table(as_markdown(data))[2:]}
    other = rows["other"]
    assert [other[key] for key in ("backend", "ratio", "steps/s", "ms full", "ms reuse", "cache", "warm-up")] == [
        "eager", "1.00 (1.00-1.00)", "4.00", "2000.0", "500.0", "3.0 MiB", "1.0 s",
    ]  # fmt: skip
    assert (other["ceiling"], other["reached"], other["peak"]) == ("1.82", "55%", "")
    assert rows["base"]["ms reuse"] == ""
    assert [rows["peer"][key] for key in ("ms full", "ceiling", "reached", "cache")] == [""] * 4
    assert rows["peer"]["backend"].startswith("torch.compile(eager) of torch 2")


def test_a_graph_that_failed_is_in_the_table(data: dict[str, Any]) -> None:
    row = data["rows"][1]
    assert cells(row)[-1] == "0 made"
    row["compiled"] = {"compiles": 2, "loads": 1, "breaks": 3, "warnings": 4, "failures": ["full pass: OSError: no"]}
    row["graph_cache"] = "partly warm"
    assert cells(row)[-1] == "2 made, 1 loaded, 3 breaks, 4 warnings, 1 failed, partly warm"
    assert "- same: ran eagerly, full pass: OSError: no" in as_markdown(data)
