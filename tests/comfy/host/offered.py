"""The nodes that the pack offers, as a server describes them."""

from __future__ import annotations

from typing import Any

from .client import ComfyClient

MODULE = "custom_nodes.skipstep"


def our_nodes(client: ComfyClient) -> dict[str, dict[str, Any]]:
    """By id; without those that only open old workflows."""
    info = client.object_info()
    return {name: node for name, node in info.items() if node["python_module"] == MODULE and not node["deprecated"]}


def inputs_of(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of each input that a person sees, by name."""
    parts = [node["input"].get(part, {}) for part in ("required", "optional")]
    return {name: (spec[1] if len(spec) > 1 else {}) for part in parts for name, spec in part.items()}
