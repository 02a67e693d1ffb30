"""The command line: see `python -m oneflow_env --help`, run in `tools/`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .install import install, probe
from .python310 import NotPossibleError, find_python

VARIABLE = "SKIPSTEP_ONEFLOW_PYTHON"


def main() -> int:
    arguments = _parser().parse_args()
    try:
        folder = arguments.folder.resolve()
        install(folder, python=find_python(arguments.python), onediff=arguments.onediff)
        found = probe(folder)
    except NotPossibleError as error:
        print(f"oneflow_env: {error}", file=sys.stderr)
        return 1
    print(f"ready: {', '.join(f'{name} {version}' for name, version in found.items())}")
    print(f"export {VARIABLE}={folder / 'bin' / 'python'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    about = "An environment for skipstep's backends oneflow and onediff: Python 3.10 with OneFlow 0.9.0, 2.4 GB."
    parser = argparse.ArgumentParser(prog="python -m oneflow_env", description=about)
    parser.add_argument("folder", type=Path, help="where to make it; a killed installation continues")
    parser.add_argument("--python", help="a Python 3.10; python3.10 or pyenv's newest if not given")
    parser.add_argument("--onediff", action="store_true", help="OneDiff 1.2.0 and torch 2.0.1, too: 1.5 GB more")
    return parser


if __name__ == "__main__":
    sys.exit(main())
