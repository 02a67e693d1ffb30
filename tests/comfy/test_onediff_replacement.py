"""Why nodes of OneDiff's names are registered: what ComfyUI's node replacement does with OneDiff's graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from host.onediff_graphs import boosted, deepcache, exported

if TYPE_CHECKING:
    from host.client import Graph
    from host.process import Core

pytestmark = pytest.mark.newest

OLD = "ModelSpeedup"
NEW = "LoraLoaderModelOnly"  # any node with a model


@pytest.fixture
def replace(core: Core, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets ComfyUI replace OneDiff's node, as if ours were not registered."""
    import nodes
    from app.node_replace_manager import NodeReplaceManager
    from comfy_api.latest import io

    assert core.version
    monkeypatch.delitem(nodes.NODE_CLASS_MAPPINGS, OLD, raising=False)

    def replaced(graph: Graph, *names: str) -> Graph:
        manager = NodeReplaceManager()
        mapping = [{"new_id": name, "old_id": name} for name in names]
        manager.register(io.NodeReplace(new_node_id=NEW, old_node_id=OLD, input_mapping=mapping))
        manager.apply_replacements(graph)
        return graph

    return replaced


def test_a_graph_as_exported_today_is_replaced(replace: Any) -> None:
    graph = replace(exported(boosted()), "model", "custom_booster")
    assert graph["model0"]["class_type"] == NEW
    assert set(graph["model0"]["inputs"]) == {"model", "custom_booster"}


def test_a_graph_without_titles_fails(replace: Any) -> None:
    with pytest.raises(KeyError, match="_meta"):
        replace(boosted(), "model")


def test_an_optional_input_that_is_not_connected_fails(replace: Any) -> None:
    graph = exported(boosted())
    del graph["model0"]["inputs"]["custom_booster"]
    with pytest.raises(KeyError, match="custom_booster"):
        replace(graph, "model", "custom_booster")


def test_nothing_is_replaced_that_is_registered(core: Core) -> None:
    from app.node_replace_manager import NodeReplaceManager
    from comfy_api.latest import io

    manager = NodeReplaceManager()
    manager.register(io.NodeReplace(new_node_id=NEW, old_node_id="ImageScaleBy"))
    assert core.node("ImageScaleBy")
    graph = exported({"1": {"class_type": "ImageScaleBy", "inputs": {}}, **deepcache()})
    manager.apply_replacements(graph)
    assert graph["1"]["class_type"] == "ImageScaleBy"
