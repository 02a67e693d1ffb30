"""Loaders of the models that ship with skipstep."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..demo import IMAGE_MODELS, load_demo_checkpoint, load_demo_video_checkpoint
from ._schema import CATEGORY, new_schema

_DEMO = f"{CATEGORY}/demo"


class SkipstepDemoCheckpoint(io.ComfyNode):
    """The demo SDXL or SD1.5."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepDemoCheckpoint",
            display_name="Skipstep Demo Checkpoint",
            category=_DEMO,
            description=(
                "A tiny but really trained SDXL or SD1.5 that ships with skipstep, to try workflows without a "
                "download. It draws 24 objects on 8 background colours at 128 x 128 pixels, for prompts such as "
                '"a fox on a blue background"; words that it was not shown are not seen. '
                "Guidance (cfg) 3 and 20 to 30 steps work best."
            ),
            search_aliases=["tiny SDXL", "tiny SD1.5", "example checkpoint", "load checkpoint"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(IMAGE_MODELS),
                    default=IMAGE_MODELS[0],
                    tooltip=(
                        "SDXL: velocity prediction, two text encoders, 9 skips; with the scheduler 'simple'. "
                        "SD1.5: epsilon prediction, one text encoder, 12 skips; with the scheduler 'ddim_uniform'."
                    ),
                )
            ],
            outputs=[
                io.Model.Output(tooltip="The UNet, for KSampler and model patches."),
                io.Clip.Output(tooltip="The text encoders, for CLIPTextEncode."),
                io.Vae.Output(tooltip="For VAEDecode and VAEEncode."),
            ],
        )

    @classmethod
    def execute(cls, model: str) -> Any:
        """Load the model."""
        return io.NodeOutput(*load_demo_checkpoint(model))


class SkipstepDemoVideoCheckpoint(io.ComfyNode):
    """The demo SVD."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepDemoVideoCheckpoint",
            display_name="Skipstep Demo Video Checkpoint",
            category=_DEMO,
            description=(
                "A tiny but really trained Stable Video Diffusion that ships with skipstep: it moves what the demo "
                "SDXL draws. Made for 14 frames of 128 x 128 pixels at 7 frames a second, 25 steps of euler with the "
                "scheduler 'karras', and guidance rising from 1 to 2 (VideoLinearCFGGuidance with min_cfg 1, cfg 2)."
            ),
            search_aliases=["tiny SVD", "example checkpoint", "image only checkpoint loader", "img2vid"],
            inputs=[],
            outputs=[
                io.Model.Output(tooltip="The UNet, for VideoLinearCFGGuidance and KSampler."),
                io.ClipVision.Output(tooltip="The image encoder, for SVD_img2vid_Conditioning."),
                io.Vae.Output(tooltip="For SVD_img2vid_Conditioning and VAEDecode."),
            ],
        )

    @classmethod
    def execute(cls) -> Any:
        """Load the model."""
        return io.NodeOutput(*load_demo_video_checkpoint())
