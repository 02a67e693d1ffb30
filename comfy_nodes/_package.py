"""Finds the `skipstep` package: the installed one, or that of the repository this folder lies in."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def find_skipstep() -> None:
    """Make `import skipstep` work; an installed one is preferred.

    Only `src` of the repository is added to the path, and last: its other folders are not packages.

    Raises:
        ImportError: if there is none, saying how to install it.
    """
    if importlib.util.find_spec("skipstep") is not None:
        return
    source = Path(__file__).resolve().parents[1] / "src"
    if not (source / "skipstep" / "__init__.py").is_file():
        raise ImportError(
            "the skipstep nodes need the skipstep package: clone the whole repository into custom_nodes, "
            "or run: pip install --no-deps skipstep"
        )
    sys.path.append(str(source))
