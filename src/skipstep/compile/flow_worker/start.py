"""Started by its path in the environment's Python: `python -I start.py probe`, or with a socket and a memory file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _as_package() -> None:
    """This folder as the package `flow_worker`, without putting the folder above it on the path."""
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "flow_worker", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["flow_worker"] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    _as_package()
    if sys.argv[1:] == ["probe"]:
        from flow_worker.probe import probe  # type: ignore[import-not-found]

        probe()
    else:
        from flow_worker.serve import serve  # type: ignore[import-not-found]

        serve(int(sys.argv[1]), int(sys.argv[2]))
