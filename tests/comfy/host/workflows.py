"""The workflows that ship with the pack, in both formats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_host.folder import REPOSITORY

from .client import Graph

FOLDER = REPOSITORY / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
LONG = ("sdxl_compile_and_cache", "sdxl_plan", "svd_image_to_video")
BY_LENGTH = [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in NAMES]


def ui_workflow(name: str) -> dict[str, Any]:
    """As the frontend saves it."""
    return dict(json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")))


def api_graph(name: str) -> Graph:
    """As it is queued, without the titles of nodes."""
    stored = json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    return {node_id: {key: node[key] for key in ("class_type", "inputs")} for node_id, node in stored.items()}


def nodes_of(graph: Graph, *kinds: str) -> list[str]:
    """The ids of all nodes of these classes, in order."""
    return [node_id for node_id, node in graph.items() if node["class_type"] in kinds]
