"""Which files of a folder are a store's: it may hold a package.json or a poetry.lock of others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

NOTE, LOCK, BAD = ".json", ".lock", ".bad"  # after the name of a graph
MAKING = ".making-"  # before it: folders of graphs in the making
MARKS = (NOTE, LOCK, BAD)
_GRAPH = r"(?P<name>.+\.(pt2|blob|kernels))"
_LEFT = (
    re.compile(_GRAPH + r"\.bad"),
    re.compile(re.escape(MAKING) + _GRAPH + r"-[^-]*"),
)
_BESIDE = re.compile(_GRAPH + r"\.(json|lock)")


def graph_of(file: str) -> str | None:
    """The graph that a file or folder is beside, or that it was to be; None for a graph itself and for all others."""
    for pattern in (*_LEFT, _BESIDE):
        match = pattern.fullmatch(file)
        if match is not None:
            return match["name"]
    return None


def is_leftover(file: str) -> bool:
    """Whether it is what somebody left who was interrupted, or what was set aside."""
    return any(pattern.fullmatch(file) for pattern in _LEFT)


def note_of(graph: Path) -> dict[str, Any] | None:
    """What was noted of a graph's file when it was whole; None if that cannot be read."""
    try:
        note = json.loads(graph.with_name(graph.name + NOTE).read_text(encoding="utf-8"))
        return {"size": int(note["size"]), "sha256": str(note["sha256"]), "title": str(note["title"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
