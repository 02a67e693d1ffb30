"""The `skipstep` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, with 2 for wrong usage and with 1 for any other failure.

    An error is one line on standard error; `--debug` adds the traceback.
    """
    try:
        from .app import run
    except ImportError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write(f"error: the command line needs {error.name}: pip install 'skipstep[cli]'\n")
        raise SystemExit(1) from error
    run(sys.argv[1:] if arguments is None else arguments)
