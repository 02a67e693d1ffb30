"""Compiles a ControlNet."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..compiling import compile_control_net, compile_options
from ._compile_inputs import compile_inputs
from ._schema import CATEGORY, new_schema


class SkipstepCompileControlNet(io.ComfyNode):
    """The network as graphs."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepCompileControlNet",
            display_name="Compile ControlNet",
            category=CATEGORY,
            description=(
                "Runs a ControlNet through compiled graphs, with the part that reuse passes of DeepCache Speedup need "
                "as a graph of its own. Graphs are made in the first run of each size."
            ),
            search_aliases=["torch.compile", "speed up", "OneDiff", "OpenVINO", "ControlnetSpeedup"],
            inputs=[
                io.ControlNet.Input("control_net", tooltip="The ControlNet given is kept."),
                *compile_inputs(parts=True),
            ],
            outputs=[io.ControlNet.Output(tooltip="The same ControlNet, compiled.")],
        )

    @classmethod
    def execute(cls, control_net: Any, backend: str, mode: str, shapes: str, verify: bool) -> Any:
        """Make a compiled copy."""
        options = compile_options(mode=mode, shapes=shapes, verify=verify)
        return io.NodeOutput(compile_control_net(control_net, backend, options))
