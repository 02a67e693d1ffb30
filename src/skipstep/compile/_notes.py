"""The note of a graph: what its file was when it was whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..hashes import file_sha256
from ._names import NOTE


def write_note(graph: Path, title: str) -> Path:
    """Note the size and SHA-256 of a file beside it; the note."""
    note = graph.with_name(graph.name + NOTE)
    text = json.dumps({"size": graph.stat().st_size, "sha256": file_sha256(graph), "title": title})
    note.write_text(text)
    return note


def is_whole(graph: Path, note: dict[str, Any]) -> bool:
    """Whether the file is what was noted."""
    try:
        return bool(graph.stat().st_size == note["size"] and file_sha256(graph) == note["sha256"])
    except OSError:  # not readable, or another process made room just now
        return False
