"""Workflows as OneDiff's users have them: the nodes, inputs and widgets of its published ones, on the tiny models.

Published with `_meta`, as ComfyUI has exported since 2024, or without, as it did before. A workflow as the canvas
saves it names no widget: their order counts.
"""

from __future__ import annotations

from typing import Any

from .client import Graph
from .graphs import SDXL, picture_graph, video_graph

CONTROLNET = "tiny_controlnet.safetensors"
LORA = "tiny_lora.safetensors"
SMALL: dict[str, Any] = {"steps": 5, "side": 64}
NUMBERS: dict[str, Any] = {
    "cache_interval": 3,
    "cache_layer_id": 0,
    "cache_block_id": 1,
    "start_step": 0,
    "end_step": 1000,
}
NEXFORT: dict[str, Any] = {
    "fullgraph": False,
    "dynamic": True,
    "mode": "max-optimize:max-autotune:low-precision",
    "docs_link": "[Note]: \nInstall-nexfort",
}
QUANTIZATION: dict[str, Any] = {
    "quantized_conv_percentage": 100,
    "quantized_linear_percentage": 100,
    "conv_compute_density_threshold": 100,
    "linear_compute_density_threshold": 300,
}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def exported(graph: Graph) -> Graph:
    """As ComfyUI exports it: every node with a title."""
    return {name: {**entry, "_meta": {"title": entry["class_type"]}} for name, entry in graph.items()}


def loaded(class_type: str, **inputs: Any) -> Graph:
    """A picture whose checkpoint comes from one of OneDiff's loaders."""
    graph = picture_graph(**SMALL)
    graph["checkpoint"] = node(class_type, ckpt_name=SDXL, **inputs)
    return graph


def boosted(**boosters: Any) -> Graph:
    """A picture of ModelSpeedup with OneDiffModelBooster, into which these links go."""
    options = {"inplace": True, "custom_booster": ["booster", 0]}
    graph = picture_graph(through=[("ModelSpeedup", options)], **SMALL)
    graph["booster"] = node("OneDiffModelBooster", **boosters)
    return graph


def deepcache(**numbers: Any) -> Graph:
    """OneDiff's `deep-cache.png`."""
    return picture_graph(through=[("ModuleDeepCacheSpeedup", {"static_mode": "enable", **NUMBERS, **numbers})], **SMALL)


def deepcache_lora() -> Graph:
    """OneDiff's `lora-deepcache.png`: the LoRA comes before, and the cut is another."""
    lora = ("LoraLoaderModelOnly", {"lora_name": LORA, "strength_model": 1.0})
    numbers = {**NUMBERS, "cache_interval": 4, "cache_layer_id": 1}
    return picture_graph(through=[lora, ("ModuleDeepCacheSpeedup", {"static_mode": "enable", **numbers})], **SMALL)


def deepcache_video(picture: str) -> Graph:
    """OneDiff's `svd-deepcache.png`."""
    nodes = [
        ("ModuleDeepCacheSpeedup", {"static_mode": "enable", **NUMBERS}),
        ("VideoLinearCFGGuidance", {"min_cfg": 1.0}),
    ]
    return video_graph(picture=picture, through=nodes, steps=4, cfg=2.5, scheduler="karras")


def speedup_video(picture: str) -> Graph:
    """OneDiff's `text-to-video-speedup.json`."""
    nodes = [("SVDSpeedup", {"static_mode": "enable"}), ("VideoLinearCFGGuidance", {"min_cfg": 1.0})]
    return video_graph(picture=picture, through=nodes, steps=4, cfg=2.5, scheduler="karras")


def controlled(picture: str, control_net: Graph) -> Graph:
    """A picture with a ControlNet, which the last of these nodes gives."""
    graph = picture_graph(**SMALL)
    (*_, last) = control_net
    applied = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "image": ["start", 0]}
    conditionings = {"positive": ["positive", 0], "negative": ["negative", 0], "control_net": [last, 0]}
    graph |= {
        "start": node("LoadImage", image=picture),
        "applied": node("ControlNetApplyAdvanced", **conditionings, **applied),
        **control_net,
    }
    graph["sampler"]["inputs"] |= {"positive": ["applied", 0], "negative": ["applied", 1]}
    return graph


def speedup_control(picture: str) -> Graph:
    """OneDiff's `sdxl-unet-control-lora-speedup.png`, of 2023."""
    load = {"network": node("ControlNetLoader", control_net_name=CONTROLNET)}
    fast = {"fast": node("ControlNetSpeedup", static_mode="enable", control_net=["network", 0])}
    graph = controlled(picture, {**load, **fast})
    graph["model0"] = node("ModelSpeedup", static_mode="enable", model=["checkpoint", 0])
    graph["sampler"]["inputs"]["model"] = ["model0", 0]
    return graph


def loader_control(picture: str) -> Graph:
    """OneDiff's `sdxl-control-lora-speedup.json`."""
    return controlled(picture, {"network": node("OneDiffControlNetLoader", control_net_name=CONTROLNET)})


def with_nexfort() -> Graph:
    """OneDiff's `nexfort/sd3_basic.json`, with another model."""
    graph = boosted(torchcompile_booster=["nexfort", 0])
    graph["nexfort"] = node("OneDiffNexfortBooster", **NEXFORT)
    graph["fast_vae"] = node("VaeSpeedup", inplace=True, vae=["checkpoint", 2], custom_booster=["booster", 0])
    graph["decoder"]["inputs"]["vae"] = ["fast_vae", 0]
    return graph


def quantized() -> Graph:
    """OneDiff's `sdxl-quant.json`."""
    graph = loaded("OneDiffCheckpointLoaderSimple", vae_speedup="disable", custom_booster=["booster", 0])
    graph["booster"] = node("OneDiffModelBooster", quantization_booster=["quantization", 0])
    graph["quantization"] = node("OneDiffOnlineQuantizationBooster", **QUANTIZATION)
    return graph


def saved_graph() -> Graph:
    """OneDiff's `sdxl-unet-speedup-graph-saver.json`."""
    graph = picture_graph(through=[("ModelSpeedup", {"inplace": True})], **SMALL)
    links = {"samples": ["sampler", 0], "model": ["model0", 0]}
    graph["saver"] = node("ModelGraphSaver", filename_prefix="sd1.5-unet", **links)
    return graph
