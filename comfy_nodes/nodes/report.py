"""What the latest sampling of a MODEL did."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..report import describe
from ..sampling import speedup_of
from ._schema import CATEGORY, new_schema


class SkipstepReport(io.ComfyNode):
    """Passes, times and memory, in the node itself."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepReport",
            display_name="Speed Report",
            category=CATEGORY,
            description=(
                "Shows what the latest sampling with this model did: full and reuse passes, UNet calls a second, the "
                "speed-up that the times of the passes promise and the one that the sampling loop had, and the memory "
                "that stored features took. The latent goes through, so that the report comes after the sampler."
            ),
            search_aliases=["DeepCache report", "it/s", "speed", "statistics"],
            is_output_node=True,  # or a page that was opened anew would not get the text of a cached result
            inputs=[
                io.Model.Input("model", tooltip="The model that the sampler was given."),
                io.Latent.Input("latent", tooltip="What the sampler made."),
            ],
            outputs=[
                io.Latent.Output(tooltip="The same latent."),
                io.String.Output("report", display_name="report", tooltip="The figures as text."),
            ],
        )

    @classmethod
    def execute(cls, model: Any, latent: Any) -> Any:
        """Describe the latest run."""
        told = describe(speedup_of(model))
        return io.NodeOutput(latent, told, ui={"text": (told,)})
