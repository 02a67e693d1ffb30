"""The workflows that ship with the pack, opened in ComfyUI's frontend and run with its button."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host.browser import SIZE, Frontend
from host.client import Outcome
from host.workflows import BY_LENGTH, api_graph, nodes_of, ui_workflow
from PIL import Image

LARGE = {"width": 1920, "height": 1080}
SAVERS = ("SaveImage", "SaveAnimatedWEBP")
SCREENSHOTS = "SKIPSTEP_SCREENSHOTS"  # names a folder
RUN_S = 1200.0
KEEP_SEEDS = """app.graph._nodes.flatMap((node) => node.widgets ?? [])
  .filter((widget) => widget.name === 'control_after_generate').forEach((widget) => { widget.value = 'fixed' })"""

pytestmark = [pytest.mark.newest, pytest.mark.timeout(RUN_S), pytest.mark.usefixtures("workflow_files")]


@pytest.fixture
def canvas(frontend: Frontend) -> Iterator[Frontend]:
    """A window in which a whole workflow can be read."""
    frontend.do(lambda page: page.set_viewport_size(LARGE))
    frontend.set("Comfy.Minimap.Visible", False)
    frontend.set("Comfy.Graph.CanvasInfo", False)
    yield frontend
    frontend.do(lambda page: page.set_viewport_size(SIZE))


@pytest.mark.whole
@pytest.mark.parametrize("name", BY_LENGTH)
def test_a_workflow_opens_runs_and_shows_what_it_made(canvas: Frontend, name: str, tmp_path: Path) -> None:
    workflow = ui_workflow(name)
    assert canvas.missing_nodes(workflow) == []
    canvas.load(workflow, name=name)
    assert canvas.dialogs() == []
    graph = canvas.graph()
    assert graph == api_graph(name)
    outcome = canvas.run(timeout_s=RUN_S)
    assert outcome.status == "success", outcome.error
    for node, shown in texts(outcome).items():
        canvas.wait_for_text(node, shown)
    shot = Image.open(canvas.screenshot(folder(tmp_path) / f"{name}.png")).convert("RGB")
    for node in nodes_of(graph, *SAVERS):
        assert is_seen(outcome.files[node][0], shot.crop(canvas.place_of(node)))
    assert canvas.our_errors() == []


def texts(outcome: Outcome) -> dict[str, str]:
    """What nodes say, by their ids."""
    said = {node: "\n".join(shown.get("text", ())) for node, shown in outcome.outputs.items()}
    return {node: text for node, text in said.items() if text}


def folder(otherwise: Path) -> Path:
    named = os.environ.get(SCREENSHOTS)
    return Path(named) if named else otherwise


def is_seen(data: bytes, area: Image.Image) -> bool:
    """Whether the background of a picture fills some of an area, in which else nothing has that colour."""
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)
    colour = np.median(picture[:16].reshape(-1, 3), axis=0)
    near = np.abs(np.asarray(area, np.float64) - colour).max(axis=-1) < 25
    return bool(near.mean() > 0.02)


def small_graph(seed: int) -> dict[str, Any]:
    graph = api_graph("sdxl_img2img")
    for node in ("5", "11"):
        graph[node]["inputs"].update(steps=10, seed=seed)
    return graph


def test_the_text_is_that_of_the_latest_run_and_is_not_saved(canvas: Frontend) -> None:
    canvas.load(small_graph(seed=1), name="text")
    assert canvas.text_of("12") == ""
    first = texts(canvas.run(timeout_s=RUN_S))["12"]
    canvas.wait_for_text("12", first)
    canvas.evaluate("app.graph.getNodeById(11).widgets.find((widget) => widget.name === 'seed').value = 2")
    second = texts(canvas.run(timeout_s=RUN_S))["12"]
    assert second != first  # it has times in it
    canvas.wait_for_text("12", second)
    assert canvas.evaluate("app.graph.getNodeById(12).widgets.length") == 1
    assert canvas.evaluate("app.graph.getNodeById(12).widgets[0].element.readOnly")
    assert "full pass takes" not in json.dumps(canvas.workflow())
    assert set(canvas.graph()["12"]["inputs"]) == {"model", "latent"}
    assert canvas.our_errors() == []


def test_the_text_comes_back_with_the_workflow(canvas: Frontend) -> None:
    canvas.load(small_graph(seed=3), name="told")
    canvas.evaluate(KEEP_SEEDS)
    text = texts(canvas.run(timeout_s=RUN_S))["12"]
    canvas.wait_for_text("12", text)
    saved = canvas.workflow()
    canvas.load(small_graph(seed=4), name="another")
    assert canvas.text_of("12") == ""
    canvas.evaluate("async () => { await app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow') }")
    canvas.wait_for_text("12", text)  # another tab was open in between
    canvas.reload()
    canvas.load(saved)
    assert canvas.text_of("12") == ""
    again = canvas.run(timeout_s=RUN_S)
    assert "11" not in again.executed()  # the server has the result still
    canvas.wait_for_text("12", text)
    assert canvas.our_errors() == []


def test_the_text_is_shown_by_the_new_nodes_too(canvas: Frontend) -> None:
    canvas.set("Comfy.VueNodes.Enabled", True)
    try:
        canvas.load(small_graph(seed=5), name="vue")
        text = texts(canvas.run(timeout_s=RUN_S))["12"]
        canvas.wait_for_text("12", text)
        box = canvas.do(lambda page: page.locator("textarea[readonly]").filter(visible=True).first)
        assert canvas.do(lambda _: box.input_value()) == text
        assert canvas.our_errors() == []
    finally:
        canvas.set("Comfy.VueNodes.Enabled", False)
