"""Seconds from start to ready on machines with empty caches: alone, first at a shared place, and later at it.

python benchmarks/service/shared_graphs.py openvino
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from real_server import RealServer

READY_S = 900.0


def ready_s(folder: Path, compiler: str, size: int, shared: Path | None) -> float:
    """Of a server of the demo model whose user has no cache."""
    folder.mkdir()
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    place = {} if shared is None else {"compiled": shared}
    server = RealServer(
        folder,
        engine="skipstep",
        models=json.dumps({"demo": "demo"}),
        compiler=compiler,
        warm_shapes=json.dumps([{"model": "demo", "width": size, "height": size}]),
        max_rows=1,
        **place,
    )
    started = time.monotonic()
    server.start(ready_s=READY_S)
    seconds = time.monotonic() - started
    server.stop()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("compiler", choices=("inductor", "aot", "openvino"))
    parser.add_argument("--size", type=int, default=128)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        seconds = {}
        for machine, shared in (("first", root / "shared"), ("later", root / "shared"), ("alone", None)):
            seconds[machine] = ready_s(root / machine, asked.compiler, asked.size, shared)
            print(f"{machine}: {seconds[machine]:.1f} s", flush=True)
        size = sum(path.stat().st_size for path in (root / "shared").rglob("*") if path.is_file())
    print(f"alone / later: {seconds['alone'] / seconds['later']:.2f}; shared: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
