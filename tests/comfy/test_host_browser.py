"""ComfyUI's frontend in a browser."""

from __future__ import annotations

from pathlib import Path

from host.browser import Frontend
from host.graphs import picture_graph
from PIL import Image


def test_a_graph_survives_the_canvas(frontend: Frontend) -> None:
    graph = picture_graph(seed=11)
    frontend.load(graph)
    assert frontend.graph() == graph
    workflow = frontend.workflow()
    assert len(workflow["nodes"]) == len(graph)
    frontend.load({"1": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}})
    assert frontend.graph() != graph
    frontend.load(workflow)
    assert frontend.graph() == graph
    assert frontend.our_errors() == []


def test_the_run_button_draws(frontend: Frontend, tmp_path: Path) -> None:
    frontend.load(picture_graph(seed=12))
    assert frontend.dialogs() == []
    outcome = frontend.run()
    assert outcome.status == "success"
    (_,) = outcome.files["picture"]
    shot = Image.open(frontend.screenshot(tmp_path / "canvas.png"))
    assert shot.size == (1600, 900)
    assert len(shot.convert("RGB").getcolors(1 << 20) or ()) > 500  # a canvas with pictures, not an empty page


def test_missing_nodes_are_named(frontend: Frontend) -> None:
    graph = picture_graph(through=[("NoSuchNode", {})])
    assert frontend.missing_nodes(graph) == ["NoSuchNode"]
    assert frontend.missing_nodes(picture_graph()) == []
    frontend.load(picture_graph())
    workflow = frontend.workflow()
    assert frontend.missing_nodes(workflow) == []
    workflow["nodes"][0]["type"] = "NoSuchNode"
    assert frontend.missing_nodes(workflow) == ["NoSuchNode"]


def test_errors_of_the_pack_are_told_from_others(frontend: Frontend) -> None:
    frontend.evaluate("console.error('somebody else is sorry')")
    assert frontend.our_errors() == []
    frontend.evaluate("console.error('skipstep is sorry')")
    frontend.evaluate("setTimeout(() => { throw new Error('skipstep failed') })")
    frontend.do(lambda page: page.wait_for_timeout(200))
    assert [error.text for error in frontend.our_errors()] == ["skipstep is sorry", "skipstep failed"]
