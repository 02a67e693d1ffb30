"""Workflows of OneDiff's users, unmodified, on a real server and in its frontend."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from host.client import ComfyClient, Graph, Outcome
from host.graphs import SDXL, ModelNode, picture_graph, video_graph
from host.onediff_graphs import (
    CONTROLNET,
    LORA,
    NUMBERS,
    SMALL,
    boosted,
    controlled,
    deepcache,
    deepcache_lora,
    deepcache_video,
    exported,
    loaded,
    loader_control,
    node,
    quantized,
    saved_graph,
    speedup_control,
    speedup_video,
    with_nexfort,
)
from PIL import Image

if TYPE_CHECKING:
    from host.browser import Frontend


def ours(*, interval: int = 3, branch: int = 2) -> ModelNode:
    """What the documentation puts in place of OneDiff's DeepCache."""
    settings = {"interval": interval, "branch": branch, "forecast": "verbatim", "spacing": "uniform"}
    return ("SkipstepDeepCache", {"preset": "custom", **settings, "start_percent": 0.0, "end_percent": 1.0})


@pytest.fixture
def start(client: ComfyClient) -> str:
    """The name of a picture in the server's input folder."""
    noise = numpy.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="PNG")
    return client.upload_image("onediff.png", file.getvalue())


def frames(outcome: Outcome) -> Any:
    """The pixels of the picture, or of all pictures of a video."""
    assert outcome.status == "success", outcome.error
    (data,) = outcome.files["picture"]
    file = Image.open(io.BytesIO(data))
    shown = []
    for index in range(getattr(file, "n_frames", 1)):
        file.seek(index)
        shown.append(numpy.asarray(file.convert("RGB")))
    return numpy.stack(shown)


def check(client: ComfyClient, old: Graph, *, today: Graph) -> None:
    """Both draw the same."""
    drawn, expected = frames(client.run(old)), frames(client.run(today))
    assert expected.std() > 1
    assert numpy.array_equal(drawn, expected)


def plain() -> Graph:
    """The picture without any speed-up."""
    return picture_graph(**SMALL)


def cached(*through: ModelNode, **settings: int) -> Graph:
    """The picture with our node last."""
    return picture_graph(through=[*through, ours(**settings)], **SMALL)


@pytest.mark.parametrize("export", [exported, dict], ids=["with _meta", "without _meta"])
def test_deepcache(client: ComfyClient, export: Any) -> None:
    check(client, export(deepcache()), today=cached())
    assert not numpy.array_equal(frames(client.run(export(deepcache()))), frames(client.run(plain())))


def test_deepcache_behind_a_lora(client: ComfyClient) -> None:
    lora = ("LoraLoaderModelOnly", {"lora_name": LORA, "strength_model": 1.0})
    check(client, exported(deepcache_lora()), today=cached(lora, interval=4, branch=4))


def test_deepcache_of_a_video(client: ComfyClient, start: str) -> None:
    guided = ("VideoLinearCFGGuidance", {"min_cfg": 1.0})
    options = {"picture": start, "steps": 4, "cfg": 2.5, "scheduler": "karras"}
    check(client, exported(deepcache_video(start)), today=video_graph(through=[ours(), guided], **options))
    check(client, exported(speedup_video(start)), today=video_graph(through=[guided], **options))


def test_loaders(client: ComfyClient) -> None:
    check(client, exported(loaded("OneDiffCheckpointLoaderSimple", vae_speedup="disable")), today=plain())
    options = {"vae_speedup": "enable", "static_mode": "enable", **NUMBERS}
    check(client, exported(loaded("OneDiffDeepCacheCheckpointLoaderSimple", **options)), today=cached())


def test_boosters(client: ComfyClient) -> None:
    graph = boosted(deepcache_booster=["deepcache", 0])
    graph["deepcache"] = node("OneFlowDeepcacheBooster", **NUMBERS)
    check(client, exported(graph), today=cached())
    check(client, exported(with_nexfort()), today=plain())
    graph = boosted(torchcompile_booster=["compile", 0])
    options = {"fullgraph": False, "backend": "inductor", "mode": "default", "disable": False, "docs_link": ""}
    graph["compile"] = node("OneDiffTorchCompileBooster", dynamic=None, **options)
    check(client, exported(graph), today=plain())


def test_controlnets(client: ComfyClient, start: str) -> None:
    today = controlled(start, {"network": node("ControlNetLoader", control_net_name=CONTROLNET)})
    check(client, speedup_control(start), today=today)
    check(client, exported(loader_control(start)), today=today)
    assert not numpy.array_equal(frames(client.run(today)), frames(client.run(plain())))


def test_what_became_of_a_node_is_told(client: ComfyClient) -> None:
    outcome = client.run(exported(saved_graph()))
    assert outcome.status == "success"
    assert outcome.outputs["saver"]["text"] == ["Take it out: compiled graphs are kept without being asked to."]
    (text,) = client.run(deepcache(cache_interval=4)).outputs["model0"]["text"]
    assert text.startswith("DeepCache Speedup with preset custom, interval 4, branch 2, forecast verbatim")


def test_a_quantized_workflow_opens_and_says_what_to_change(client: ComfyClient) -> None:
    outcome = client.run(exported(quantized()))
    assert outcome.error is not None
    assert outcome.error["node_id"] == "quantization"
    assert "delete it, or set both percentages to 0" in outcome.error["exception_message"]
    changed = quantized()
    del changed["quantization"]
    changed["booster"]["inputs"].clear()
    check(client, exported(changed), today=plain())


def canvas(*nodes: dict[str, Any]) -> dict[str, Any]:
    """A workflow as the canvas saves it, of nodes without links."""
    common = {"pos": [0, 0], "size": [300, 200], "flags": {}, "order": 0, "mode": 0, "properties": {}}
    listed = [{"id": index, **common, **entry} for index, entry in enumerate(nodes, start=1)]
    return {"last_node_id": len(nodes), "last_link_id": 0, "nodes": listed, "links": [], "version": 0.4}


@pytest.mark.newest
def test_the_canvas_reads_widgets_by_their_order(frontend: Frontend) -> None:
    model = {"name": "model", "type": "MODEL", "link": None}
    given = {"name": "MODEL", "type": "MODEL", "links": [], "slot_index": 0}
    workflow = canvas(
        {
            "type": "ModuleDeepCacheSpeedup",
            "inputs": [model],
            "outputs": [given],
            "widgets_values": ["disable", 4, 1, 1, 100, 900],
        },
        {"type": "OneDiffCheckpointLoaderSimple", "outputs": [given], "widgets_values": [SDXL, "enable"]},
        {"type": "ModelSpeedup", "inputs": [model], "outputs": [given], "widgets_values": ["enable"]},  # of 2023
        {"type": "SVDSpeedup", "inputs": [model], "outputs": [given], "widgets_values": [False, "svd"]},
    )
    assert frontend.missing_nodes(workflow) == []
    frontend.load(workflow)
    queued = {entry["class_type"]: entry["inputs"] for entry in frontend.graph().values()}
    numbers = {"cache_interval": 4, "cache_layer_id": 1, "cache_block_id": 1, "start_step": 100, "end_step": 900}
    assert queued["ModuleDeepCacheSpeedup"] == {"static_mode": "disable", **numbers}
    assert queued["OneDiffCheckpointLoaderSimple"] == {"ckpt_name": SDXL, "vae_speedup": "enable"}
    assert queued["SVDSpeedup"]["inplace"] is False
    assert queued["SVDSpeedup"]["cache_name"] == "svd"
    assert queued["ModelSpeedup"]["static_mode"] == "enable"
    assert frontend.our_errors() == []


@pytest.mark.newest
def test_node_replacement_comes_too_late_for_a_graph(frontend: Frontend) -> None:
    """One of ComfyUI's own replacements; why OneDiff's nodes are registered (docs/comfyui-onediff.md)."""
    graph = exported({**plain(), "adapter": node("T2IAdapterLoader", t2i_adapter_name=CONTROLNET)})
    with ComfyClient(frontend.url) as client:
        assert "T2IAdapterLoader" in client.get("/node_replacements").json()
    frontend.load(graph)
    assert set(graph) - set(frontend.graph()) == {"adapter"}


@pytest.mark.newest
def test_a_graph_opens_in_the_frontend_and_runs(frontend: Frontend) -> None:
    old = deepcache()
    old["model0"]["inputs"]["cache_interval"] = 2  # a node whose result the server still has tells nothing
    frontend.load(old)
    assert frontend.dialogs() == []
    assert frontend.graph()["model0"] == old["model0"]
    drawn = frames(frontend.run())
    with ComfyClient(frontend.url) as client:
        assert numpy.array_equal(drawn, frames(client.run(cached(interval=2))))
    told = "() => app.graph._nodes.flatMap((node) => node.widgets ?? []).map((it) => String(it.value)).join()"
    shown = f"(text) => ({told})().includes(text)"
    frontend.do(lambda page: page.wait_for_function(shown, arg="interval 2, branch 2, forecast verbatim"))
