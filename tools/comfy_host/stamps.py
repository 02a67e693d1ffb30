"""Steps that are done once, and again when what they are made of changes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path


def digest(*parts: object) -> str:
    """Of everything that a step's result depends on."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def once(stamp: Path, made_of: str, do: Callable[[], None], *, say: str) -> bool:
    """Do it unless `stamp` says that it was done with the same `made_of`; whether it was done now.

    The stamp is written after the work and goes before it, so that killed work is done again.
    """
    if stamp.is_file() and stamp.read_text() == made_of:
        return False
    print(f"{say} ...", flush=True)
    start = time.monotonic()
    stamp.unlink(missing_ok=True)
    do()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(made_of)
    print(f"{say}: {time.monotonic() - start:.0f} s", flush=True)
    return True
