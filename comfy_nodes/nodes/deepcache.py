"""The node that a user drags between a checkpoint and a sampler."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.deepcache import DeepCache
from skipstep.deepcache.options import SPACINGS
from skipstep.deepcache.storage import SAME

from ..sampling import Window, speed_up
from ._schema import CATEGORY, CUSTOM, forecast_names, new_schema, preset_input, storage_inputs, window_inputs


class SkipstepDeepCache(io.ComfyNode):
    """Feature reuse on any UNet."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepDeepCache",
            display_name="DeepCache Speedup",
            category=CATEGORY,
            description=(
                "Runs the whole UNet at some steps only, and 1 to 10 % of it at the others, around deep features that "
                "are forecast from earlier steps. For SD1.x, SD2.x, SDXL and their fine-tunes; for SVD there is SVD "
                "Speedup. Works with LoRA, ControlNet, IP-Adapter, FreeU, any sampler and any size."
            ),
            search_aliases=["deep cache", "speed up", "accelerate", "faster", "OneDiff", "ModuleDeepCacheSpeedup"],
            inputs=[
                io.Model.Input("model", tooltip="A UNet; the model given is not changed."),
                preset_input(more=(CUSTOM,)),
                io.Int.Input(
                    "interval",
                    default=3,
                    min=1,
                    max=100,
                    tooltip="With custom: evaluations from one full pass to the next; 1 runs all in full.",
                ),
                io.Int.Input(
                    "branch",
                    default=0,
                    min=0,
                    max=24,
                    tooltip="With custom: the skip connection at which the UNet is cut; 0 is fastest.",
                ),
                io.Combo.Input(
                    "forecast",
                    options=forecast_names(),
                    default="linear",
                    tooltip=(
                        "With custom: what stands for the deep features. verbatim repeats the latest (DeepCache's own "
                        "way); linear continues the line through the latest two, at no cost; calibrated measures the "
                        "first run, which is uncached, and uses what it learnt from the second on."
                    ),
                ),
                io.Combo.Input(
                    "spacing",
                    options=list(SPACINGS),
                    default="spread",
                    tooltip=(
                        "With custom: uniform counts from the first evaluation; spread places as many full passes "
                        "evenly from the first evaluation to the last."
                    ),
                ),
                *window_inputs(),
                *storage_inputs(),
            ],
            outputs=[io.Model.Output(tooltip="The same model, sped up when it is sampled from.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        preset: str,
        interval: int,
        branch: int,
        forecast: str,
        spacing: str,
        start_percent: float,
        end_percent: float,
        feature_dtype: str = SAME,
        feature_device: str = SAME,
    ) -> Any:
        """Put the cache on a clone of the model."""
        cache: DeepCache | str = preset
        if preset == CUSTOM:
            cache = DeepCache(interval=interval, branch=branch, forecast=forecast, spacing=spacing)
        return io.NodeOutput(
            speed_up(
                model,
                cache=cache,
                window=Window(start_percent, end_percent),
                feature_dtype=feature_dtype,
                feature_device=feature_device,
            )
        )
