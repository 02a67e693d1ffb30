"""The cache for Stable Video Diffusion."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.deepcache.storage import SAME
from skipstep.errors import UnsupportedModelError

from ..memory import feature_memory
from ..sampling import Window, speed_up
from ..sampling.resolve import family_of
from ._schema import CATEGORY, new_schema, preset_input, storage_inputs, window_inputs


class SkipstepSVDSpeedup(io.ComfyNode):
    """Feature reuse with the right settings for video."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepSVDSpeedup",
            display_name="SVD Speedup",
            category=CATEGORY,
            description=(
                "Feature reuse for Stable Video Diffusion, SVD-XT and their fine-tunes. Cuts at branch 0: a reuse pass "
                "costs 8.5 % of a full one there, and 25 % at branch 1, which no quality pays for. Tells how much "
                "memory the features of a clip take."
            ),
            search_aliases=["video", "SVDSpeedup", "stable video diffusion", "OneDiff"],
            inputs=[
                io.Model.Input("model", tooltip="An SVD model, before or after VideoLinearCFGGuidance."),
                preset_input(),
                io.Int.Input("width", default=1024, min=16, max=16384, step=8, tooltip="Of the clip, to tell memory."),
                io.Int.Input("height", default=576, min=16, max=16384, step=8, tooltip="Of the clip, to tell memory."),
                io.Int.Input("video_frames", default=14, min=1, max=4096, tooltip="Of the clip, to tell memory."),
                *window_inputs(),
                *storage_inputs(),
            ],
            outputs=[
                io.Model.Output(tooltip="The same model, sped up when it is sampled from."),
                io.String.Output("memory", display_name="memory", tooltip="What the stored features take."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        preset: str,
        width: int,
        height: int,
        video_frames: int,
        start_percent: float,
        end_percent: float,
        feature_dtype: str = SAME,
        feature_device: str = SAME,
    ) -> Any:
        """Put the cache on a clone of the model."""
        cached = speed_up(
            model,
            cache=preset,
            window=Window(start_percent, end_percent),
            feature_dtype=feature_dtype,
            feature_device=feature_device,
        )
        if family_of(model) != "svd":
            raise UnsupportedModelError(
                f"SVD Speedup is for Stable Video Diffusion, got {type(model.model).__name__}; use DeepCache Speedup"
            )
        told = feature_memory(
            cached, width=width, height=height, frames=video_frames, dtype=feature_dtype, device=feature_device
        )
        return io.NodeOutput(cached, told, ui={"text": (told,)})
