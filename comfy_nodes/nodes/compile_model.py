"""Compiles a UNet."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..compiling import compile_model, compile_options
from ._compile_inputs import compile_inputs
from ._schema import CATEGORY, new_schema


class SkipstepCompileModel(io.ComfyNode):
    """Both passes as graphs."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepCompileModel",
            display_name="Compile Model",
            category=CATEGORY,
            description=(
                "Runs a UNet through compiled graphs, one for the full pass and one for the reuse pass of DeepCache "
                "Speedup, before or after which it may stand. Graphs are made in the first run of each size, which "
                "takes minutes, and kept while the model is loaded; a LoRA that is loaded later is followed. Steps "
                "with patches of other nodes (FreeU, PAG, IP-Adapter) run uncompiled, and the log says so."
            ),
            search_aliases=["torch.compile", "speed up", "OneDiff", "OpenVINO", "ModelSpeedup"],
            inputs=[
                io.Model.Input("model", tooltip="SD1.x, SD2.x, SDXL, SVD or a fine-tune; the model given is kept."),
                *compile_inputs(),
            ],
            outputs=[io.Model.Output(tooltip="The same model, compiled when it is sampled from.")],
        )

    @classmethod
    def execute(cls, model: Any, backend: str, mode: str, shapes: str, verify: bool) -> Any:
        """Put the compiler on a clone of the model."""
        options = compile_options(mode=mode, shapes=shapes, verify=verify)
        return io.NodeOutput(compile_model(model, backend, options))
