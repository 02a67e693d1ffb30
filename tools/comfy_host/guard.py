"""Runs a command until it ends, or until whoever started this process does, even by being killed.

The starter holds the other end of standard input, which the system closes for it. A file by itself, because it
runs as a script: `python -I guard.py COMMAND ...`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

END_S = 15.0


def main() -> None:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_starter, args=(child,), daemon=True).start()
    os._exit(child.wait() & 0xFF)


def _end_with_starter(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    child.terminate()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main()
