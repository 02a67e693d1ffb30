"""OneDiff's nodes under their own names, so that workflows made with them open and run as they are."""

from __future__ import annotations

from typing import Any

from .boosters import (
    OneDiffModelBooster,
    OneDiffNexfortBooster,
    OneDiffOnlineQuantizationBooster,
    OneDiffTorchCompileBooster,
    OneFlowDeepcacheBooster,
)
from .deepcache import ModuleDeepCacheSpeedup, OneDiffDeepCacheCheckpointLoaderSimple
from .loaders import OneDiffCheckpointLoaderSimple, OneDiffControlNetLoader
from .passages import PASSAGES, passage_node
from .refusals import REFUSALS, refusal_node
from .speedups import ControlNetSpeedup, ControlnetSpeedup, ModelSpeedup, SVDSpeedup, VaeSpeedup
from .tools import CLIPTextEncodePromptStyle, ShowImageDiff

__all__ = ["onediff_nodes"]


def onediff_nodes() -> list[Any]:
    """The classes of those nodes that nobody has registered yet: OneDiff's own pack keeps its names."""
    from nodes import NODE_CLASS_MAPPINGS

    made = [
        ModuleDeepCacheSpeedup,
        OneDiffDeepCacheCheckpointLoaderSimple,
        ModelSpeedup,
        SVDSpeedup,
        VaeSpeedup,
        ControlnetSpeedup,
        ControlNetSpeedup,
        OneDiffCheckpointLoaderSimple,
        OneDiffControlNetLoader,
        OneDiffModelBooster,
        OneFlowDeepcacheBooster,
        OneDiffTorchCompileBooster,
        OneDiffNexfortBooster,
        OneDiffOnlineQuantizationBooster,
        ShowImageDiff,
        CLIPTextEncodePromptStyle,
        *(passage_node(passage) for passage in PASSAGES),
        *(refusal_node(refusal) for refusal in REFUSALS),
    ]
    return [node for node in made if node.GET_SCHEMA().node_id not in NODE_CLASS_MAPPINGS]
