"""The note beside an adapter that says which base model it was made for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..errors import AdapterError
from .base import Fingerprint
from .folder import SIDECAR
from .opening import read_small
from .strict_json import parse_object

VERSION = 1
_FIELDS = {"architecture": str, "hidden_size": int, "layers": int, "vocab_size": int, "sample": str}


def sidecar_bytes(base: Fingerprint) -> bytes:
    """The note for adapters of one base model."""
    return (json.dumps({"skipstep_adapter": VERSION, "base": asdict(base)}, indent=1) + "\n").encode()


def read_sidecar(folder: Path) -> Fingerprint | None:
    """What the note in a folder says; None where there is none.

    Raises:
        AdapterError: if it is damaged or of another version.
    """
    if not (folder / SIDECAR).exists():
        return None
    note = parse_object(read_small(folder / SIDECAR, limit=4096), SIDECAR)
    base = note.get("base")
    if note.get("skipstep_adapter") != VERSION:
        raise AdapterError(f"skipstep_adapter: {SIDECAR} must be of version {VERSION}; remove it, or upgrade skipstep")
    if not isinstance(base, dict) or {name: type(value) for name, value in base.items()} != _FIELDS:
        raise AdapterError(f"base: {SIDECAR} must have {', '.join(_FIELDS)} there; remove it, or write it anew")
    return Fingerprint(**base)
