"""`benchmarks/gpu.sh`: what it asks for is there to be asked for, and a case that fails does not cost the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
CASES = ["sdxl-unet", "sdxl-unet-512", "svd-unet", "svd-unet-25"]
# stands for Python: notes what it is called with, and writes a result where a benchmark would
FAKE = """#!/bin/sh
[ "$1" = - ] && exec "{python}" "$@"
echo "$@" >>"{log}"
[ "$4" = "{failing}" ] && exit 1
for out; do :; done
echo '{{"title": "'"$4"'"}}' >"$out/$4.json"
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def run(folder: Path, python: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": python, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run(["bash", str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("failing", ["none", "svd-unet"])
def test_all_cases_are_run_and_gathered_in_one_file(tmp_path: Path, failing: str) -> None:
    from typer.main import get_command

    from skipstep.cli.app import app

    log, fake, out = tmp_path / "log", tmp_path / "python", tmp_path / "out"
    fake.write_text(FAKE.format(python=sys.executable, log=log, failing=failing))
    fake.chmod(0o755)
    done = run(out, str(fake), TRY="")
    asked = [line.split() for line in log.read_text().splitlines()]
    assert [words[3] for words in asked] == [*CASES, "sdxl-unet"]
    for words in asked:
        assert words[:3] == ["-m", "skipstep", "bench"]
        command = get_command(app).commands["bench"]  # type: ignore[attr-defined]
        assert command.make_context("bench", words[3:]).params["out"] in (out, out / "bfloat16")
    gathered = json.loads((out / "gpu.json").read_text())
    left = [name for name in CASES if name != failing]
    assert sorted(result["title"] for result in gathered["results"]) == sorted([*left, "sdxl-unet"])
    if failing == "none":
        assert (done.returncode, gathered["failed"]) == (0, [])
    else:
        assert done.returncode == 1
        assert gathered["failed"] == ["failed: svd-unet --dtype float16 --rounds 2"]


@pytest.mark.slow
def test_it_can_be_tried_without_a_gpu(tmp_path: Path) -> None:
    done = run(tmp_path, sys.executable, TRY="1")
    assert done.returncode == 0, done.stderr[-2000:]
    gathered = json.loads((tmp_path / "gpu.json").read_text())
    assert gathered["failed"] == []
    assert [result["case"]["model"] for result in gathered["results"]] == ["sdxl-tiny", "svd-tiny"]
    for result in gathered["results"]:
        ran = [row["name"] for row in result["rows"] if "skipped" not in row]
        assert ran[:4] == ["baseline, eager", "compiled", "interval 3, eager", "interval 3, compiled"]
    assert len(list(tmp_path.glob("*-waterfall.png"))) == 2
