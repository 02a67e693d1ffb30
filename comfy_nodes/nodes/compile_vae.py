"""Compiles a VAE."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..compiling import compile_options, compile_vae
from ._compile_inputs import compile_inputs
from ._schema import CATEGORY, new_schema


class SkipstepCompileVAE(io.ComfyNode):
    """Encoder and decoder as graphs."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepCompileVAE",
            display_name="Compile VAE",
            category=CATEGORY,
            description=(
                "Encodes and decodes through compiled graphs, which are made for each size when it first comes. Worth "
                "it for many pictures of one size, and for video."
            ),
            search_aliases=["torch.compile", "speed up", "OneDiff", "OpenVINO", "VaeSpeedup"],
            inputs=[
                io.Vae.Input("vae", tooltip="Of SD1.x, SD2.x, SDXL or SVD; the VAE given is kept."),
                *compile_inputs(parts=True),
            ],
            outputs=[io.Vae.Output(tooltip="The same VAE, compiled.")],
        )

    @classmethod
    def execute(cls, vae: Any, backend: str, mode: str, shapes: str, verify: bool) -> Any:
        """Make a compiled copy."""
        options = compile_options(mode=mode, shapes=shapes, verify=verify)
        return io.NodeOutput(compile_vae(vae, backend, options))
