"""A UNet of SDXL's shape and 72 million parameters, compiled cold and then loaded by another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = """
import json, os, sys, torch
torch.set_num_threads(1)
from torch._dynamo.utils import counters
from skipstep import DeepCache
from skipstep.bench.loop import UNetLoop
from skipstep.compile import Compiler, GraphStore, relative_error
from skipstep.deepcache import attach

backend, folder = sys.argv[1:]
def spent():
    return sum(os.times()[:4])  # of this process and its compilers
loop = UNetLoop(
    "sdxl-72m", width=256, height=256, frames=None, guidance_scale=5.0, device=torch.device("cpu"), dtype=torch.float32
)
options = DeepCache(interval=2, forecast="verbatim")
compiler = Compiler(backend, store=None if backend == "inductor" else GraphStore(folder))
started = spent()
run = attach(loop, options, split=compiler)
loop(steps=2, seed=0)
first, made = spent() - started, compiler.counters.compiles
for steps, seed in ((3, 1), (4, 2), (5, 3)):
    loop._inputs["encoder_hidden_states"] = torch.randn(2, 77, 512, generator=torch.Generator().manual_seed(seed))
    ours = loop(steps=steps, seed=seed)
run.detach()
with_eager = attach(loop, options)
error = relative_error(loop(steps=5, seed=3), ours)
with_eager.detach()
print(json.dumps({
    "cpu_s": first, "first": made, "breaks": sum(counters["graph_break"].values()), "error": error,
    "traced": counters["stats"]["unique_graphs"], **compiler.counters.as_dict(),
}))
"""


def _child(backend: str, folder: Path) -> dict[str, Any]:
    variables = {"TORCHINDUCTOR_CACHE_DIR": str(folder / "kernels"), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", CHILD, backend, str(folder / "graphs")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr[-2000:]
    figures: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    shown = ("cpu_s", "compiles", "loads", "traced", "breaks", "error")
    sys.stdout.write(f"{backend}: { ({name: figures[name] for name in shown}) }\n")
    return figures


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("backend", ["inductor", "aot"])
def test_two_graphs_no_break_no_recompilation(tmp_path: Path, backend: str) -> None:
    cold = _child(backend, tmp_path)
    assert cold["first"] == cold["compiles"] == 2
    assert (cold["breaks"], cold["eager"], cold["failures"]) == (0, 0, [])
    assert cold["error"] <= 1e-4
    if backend == "aot":
        warm = _child(backend, tmp_path)
        assert (warm["compiles"], warm["loads"]) == (0, 2)
        assert warm["error"] <= 1e-4
        assert warm["cpu_s"] <= 0.1 * cold["cpu_s"]
