"""What an adapter is, before anything loads it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..prompting import adapter_text
from ..prompting.places import inspected_names, inspected_path, stamp
from ._prompt_inputs import PROMPT_CATEGORY
from ._schema import new_schema


class SkipstepAdapterInspect(io.ComfyNode):
    """Family, layers, ranks and scales, or why it is refused."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepAdapterInspect",
            display_name="Adapter Inspect",
            category=PROMPT_CATEGORY,
            description=(
                "Tells what an adapter is: an adapter folder of a language model, or a LoRA file of an image model. "
                "Only headers are read, and nothing is loaded or run. What is damaged or unsafe stops with the name of "
                "the field, tensor or file."
            ),
            search_aliases=["LoRA info", "rank", "safetensors", "metadata", "check LoRA"],
            is_output_node=True,  # or a page that was opened anew would not get the text of a cached result
            inputs=[
                io.Combo.Input(
                    "adapter",
                    options=inspected_names(),
                    tooltip="A folder in models/prompt_adapters, or a .safetensors file in models/loras.",
                )
            ],
            outputs=[io.String.Output("report", display_name="report", tooltip="What it is, as text.")],
        )

    @classmethod
    def execute(cls, adapter: str) -> Any:
        """Look at it."""
        told = adapter_text(inspected_path(adapter), adapter)
        return io.NodeOutput(told, ui={"text": (told,)})

    @classmethod
    def fingerprint_inputs(cls, adapter: str | None = None) -> Any:
        """Runs again when a file of the adapter has changed."""
        return None if adapter is None else stamp(inspected_path(adapter))
