"""A checkpoint that comes sped up."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io

from ..sampling import speed_up
from ._schema import CATEGORY, PRESETS, new_schema


class SkipstepCheckpointLoader(io.ComfyNode):
    """Load Checkpoint and DeepCache Speedup in one."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepCheckpointLoader",
            display_name="Checkpoint Loader (speed-up)",
            category=CATEGORY,
            description=(
                "Loads a checkpoint of SD1.x, SD2.x or SDXL as Load Checkpoint does, with feature reuse on it. What "
                "comes after it (LoRA, ControlNet, FreeU) is taken into account."
            ),
            search_aliases=["OneDiffCheckpointLoaderSimple", "OneDiff", "load checkpoint", "faster"],
            inputs=[
                io.Combo.Input(
                    "ckpt_name",
                    options=folder_paths.get_filename_list("checkpoints"),
                    tooltip="A file in models/checkpoints.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=PRESETS[0],
                    tooltip="quality is about 2 times faster, balanced 3, fast 5; lossless runs everything in full.",
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="The UNet, sped up when it is sampled from."),
                io.Clip.Output(tooltip="The text encoders."),
                io.Vae.Output(tooltip="The VAE."),
            ],
        )

    @classmethod
    def execute(cls, ckpt_name: str, preset: str) -> Any:
        """Load, and put the cache on."""
        from nodes import CheckpointLoaderSimple

        model, clip, vae = CheckpointLoaderSimple().load_checkpoint(ckpt_name)
        return io.NodeOutput(speed_up(model, cache=preset), clip, vae)
