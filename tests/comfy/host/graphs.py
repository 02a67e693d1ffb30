"""Graphs in API format that draw with the miniature models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .client import Graph
from .tiny_files import CLIP_VISION, SDXL, SVD

# A node that takes and gives a MODEL: its id and its other inputs
ModelNode = tuple[str, dict[str, Any]]


def picture_graph(*, through: Sequence[ModelNode] = (), side: int = 128, **sampling: Any) -> Graph:
    """A picture of the miniature SDXL, whose model goes through these nodes; ids are "model0", "model1", ...

    `sampling` are inputs of `KSampler`. The other ids are checkpoint, positive, negative, latent, sampler, decoder
    and picture.
    """
    graph = {
        "checkpoint": _node("CheckpointLoaderSimple", ckpt_name=SDXL),
        "positive": _node("CLIPTextEncode", clip=["checkpoint", 1], text="a red apple on a table"),
        "negative": _node("CLIPTextEncode", clip=["checkpoint", 1], text="blurry"),
        "latent": _node("EmptyLatentImage", width=side, height=side, batch_size=1),
        "sampler": _sampler(["latent", 0], ["positive", 0], ["negative", 0], **sampling),
        "decoder": _node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        "picture": _node("SaveImage", images=["decoder", 0], filename_prefix="tiny"),
    }
    return _with_model(graph, through)


def video_graph(*, picture: str, through: Sequence[ModelNode] = (), frames: int = 4, **sampling: Any) -> Graph:
    """A video of the miniature SVD from an uploaded picture, as an animated WebP; ids as in `picture_graph`."""
    conditioning = _node(
        "SVD_img2vid_Conditioning",
        clip_vision=["vision", 0],
        init_image=["start", 0],
        vae=["checkpoint", 2],
        width=128,
        height=64,
        video_frames=frames,
        motion_bucket_id=127,
        fps=6,
        augmentation_level=0.0,
    )
    graph = {
        "checkpoint": _node("ImageOnlyCheckpointLoader", ckpt_name=SVD),
        "vision": _node("TinyCLIPVisionLoader", name=CLIP_VISION),
        "start": _node("LoadImage", image=picture),
        "conditioning": conditioning,
        "sampler": _sampler(["conditioning", 2], ["conditioning", 0], ["conditioning", 1], **sampling),
        "decoder": _node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        "picture": _node(
            "SaveAnimatedWEBP",
            images=["decoder", 0],
            filename_prefix="tiny",
            fps=6.0,
            lossless=True,
            quality=80,
            method="default",
        ),
    }
    return _with_model(graph, through)


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def _sampler(latent: Any, positive: Any, negative: Any, **sampling: Any) -> dict[str, Any]:
    usual = {"steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "seed": 1, "denoise": 1.0}
    conditionings = {"latent_image": latent, "positive": positive, "negative": negative}
    return _node("KSampler", **conditionings, **{**usual, **sampling})


def _with_model(graph: Graph, through: Sequence[ModelNode]) -> Graph:
    model: list[Any] = ["checkpoint", 0]
    for index, (class_type, inputs) in enumerate(through):
        graph[f"model{index}"] = _node(class_type, model=model, **inputs)
        model = [f"model{index}", 0]
    graph["sampler"]["inputs"]["model"] = model
    return graph
