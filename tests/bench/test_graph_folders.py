"""Where a benchmark's graphs are: nowhere before it, and whether that was so is told."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skipstep import DeepCache
from skipstep.bench import BenchCase, BenchRow, RowResult, as_dict, run_case
from skipstep.bench.graph_folders import GraphFolders
from skipstep.compile import CompileOptions
from skipstep.errors import OutputError

VARIABLES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
OPTIONS = CompileOptions()


def places() -> list[str | None]:
    return [os.environ.get(name) for name in VARIABLES]


def test_each_compiler_and_peer_has_a_folder_which_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLES[0], "mine")
    monkeypatch.delenv(VARIABLES[1], raising=False)
    row = BenchRow(name="a", backend="inductor")
    rows = (row, replace(row, compile=CompileOptions(dynamic=True)), BenchRow(name="b", peer="torch.compile"))
    seen: list[Any] = []
    with GraphFolders(None) as folders:
        for one in (*rows, row):
            with folders.kernels_of("inductor", one):
                seen.append(places())
                Path(str(places()[0])).mkdir(parents=True, exist_ok=True)
            assert places() == ["mine", None]
    assert seen[0] == seen[3]
    assert len({kernels for kernels, _ in seen}) == 3
    assert all(triton.startswith(kernels) for kernels, triton in seen)
    assert not any(Path(kernels).parent.exists() for kernels, _ in seen)


def test_a_folder_to_keep_is_kept_and_found_again(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with GraphFolders(tmp_path / "kept") as folders, folders.kernels_of("inductor", BenchRow(name="a")):
            seen.append(places())
            Path(str(places()[0])).mkdir(parents=True, exist_ok=True)
    assert seen[0] == seen[1]
    assert Path(str(seen[0][0])).is_relative_to(tmp_path / "kept")
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OutputError, match="cannot keep graphs in .*file.*: Not a directory"),
        GraphFolders(tmp_path / "file" / "graphs"),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ({}, None),
        ({"compiles": 0, "loads": 0, "cached": 0}, None),
        ({"compiles": 2, "breaks": 3}, "cold"),
        ({"compiles": 2, "cached": 2, "loads": 0}, "warm"),
        ({"compiles": 0, "cached": 0, "loads": 1}, "warm"),
        ({"compiles": 2, "cached": 1, "loads": 0}, "partly warm"),
        ({"compiles": 1, "cached": 0, "loads": 1}, "partly warm"),
    ],
)
def test_a_row_is_cold_if_nothing_of_it_was_on_disk(counted: dict[str, int], expected: str | None) -> None:
    assert RowResult(row=BenchRow(name="a"), backend="aot", compiled=counted).graph_cache == expected


@pytest.mark.slow
def test_a_bench_compiles_cold_unless_it_is_given_a_folder_with_graphs(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'skipstep[openvino]'")
    quick = BenchRow(name="quick", backend="openvino", reuse=DeepCache(interval=2, forecast="verbatim"))
    rows = (BenchRow(name="base"), quick, replace(quick, name="again"))
    case = BenchCase(
        title="T", model="sdxl-tiny", random_weights=True, width=32, height=32, steps=2, rounds=1, device="cpu",
        dtype="float32", rows=rows,
    )  # fmt: skip
    seen = []
    for graphs in (None, tmp_path, tmp_path):
        data = as_dict(run_case(case, graphs=graphs))
        seen.append([data["environment"]["graphs"], *(row["graph_cache"] for row in data["rows"])])
    assert seen == [
        ["made anew", None, "cold", None],  # the third row has the second's
        ["kept", None, "cold", None],
        ["kept", None, "warm", None],
    ]
