"""Two results side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes_of_bench import FakeSubject, run_fake

from skipstep import DeepCache
from skipstep.bench import BenchRow, as_dict, as_json, compare_results, load_result
from skipstep.compile import CompileOptions
from skipstep.errors import OptionError


def result(monkeypatch: pytest.MonkeyPatch, file: Path, quick: float, **more: Any) -> dict[str, Any]:
    """A result with a row that takes `quick` seconds to the baseline's 4, written and loaded."""
    subject = FakeSubject({"base": 4.0, "qu|ck": quick, "own": 1.0})
    subject.latents = lambda row, _: torch.tensor([0.0, 7.0, 0.0 if row.name == "base" else 0.5])
    rows = [BenchRow(name="base"), BenchRow(name="qu|ck", reuse=DeepCache())]
    rows.append(BenchRow(name="graphs", compile=CompileOptions(cuda_graphs=True)))
    if more.pop("own", False):
        rows.append(BenchRow(name="own"))
    file.write_text(as_json(as_dict(run_fake(monkeypatch, subject, tuple(rows)))))
    loaded = load_result(file)
    return {**loaded, **more}


def test_rows_in_both_are_set_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = result(monkeypatch, tmp_path / "a.json", 2.0)
    other = result(monkeypatch, tmp_path / "b.json", 1.0, own=True, title="Later")
    other["environment"] = {**other["environment"], "gpu": "H200"}
    text = compare_results(one, other)
    assert text.splitlines()[0] == "## A fake against Later"
    assert "| base | 1.00 (1.00-1.00) | 1.00 (1.00-1.00) | 1.00 | equal | equal |" in text
    assert r"| qu\|ck | 2.00 (2.00-2.00) | 4.00 (4.00-4.00) | 2.00 | 27.7 dB | 27.7 dB |" in text
    assert "| graphs | left out | left out | | | |" in text
    assert "Measured differently:\n- gpu: None / H200\n" in text
    assert text.endswith("\nIn one of them only: own\n")


def test_a_result_against_itself_differs_in_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = result(monkeypatch, tmp_path / "a.json", 2.0)
    text = compare_results(one, one)
    assert text.splitlines()[0] == "## A fake"
    assert "differently" not in text
    assert "only" not in text


def test_results_without_a_common_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = result(monkeypatch, tmp_path / "a.json", 2.0)
    with pytest.raises(OptionError, match="the two results have no row in common; compare results of one case"):
        compare_results(one, {**one, "by_name": {"x": {}}})


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "3", '{"rows": 3}', '{"rows": [{}]}', '{"rows": []}', '{"rows": [{"name": "a"}], "title": "T"}',
     '{"rows": [{"name": "a"}], "title": "T", "environment": {}}', b"\xff".decode("latin-1")],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(OptionError, match="a.json is not a result of `skipstep bench`"):
        load_result(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is not a result of `skipstep bench`: .*No such file"):
        load_result(tmp_path / "a.json")


def test_what_is_loaded_is_what_was_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subject = FakeSubject({"base": 4.0, "b": 1.0})
    made = run_fake(monkeypatch, subject, (BenchRow(name="base"), BenchRow(name="b")))
    (tmp_path / "a.json").write_text(as_json(as_dict(made)))
    loaded = load_result(tmp_path / "a.json")
    assert loaded["rows"] == json.loads(json.dumps(as_dict(made), default=str))["rows"]
    assert list(loaded["by_name"]) == ["base", "b"]
