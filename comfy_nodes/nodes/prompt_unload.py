"""Gives a language model's memory back in the middle of a workflow."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..prompting import PromptLLM
from ._prompt_inputs import PROMPT_CATEGORY, llm_input
from ._schema import new_schema


class SkipstepPromptLLMUnload(io.ComfyNode):
    """Lets anything through, and unloads."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPromptLLMUnload",
            display_name="Prompt LLM Unload",
            category=PROMPT_CATEGORY,
            description=(
                "Gives a language model's memory back when what is connected has been made, and lets that through: "
                "between the last Prompt Expand and what draws. The next prompt loads the model again."
            ),
            search_aliases=["free memory", "VRAM", "unload model", "purge"],
            inputs=[
                io.AnyType.Input("anything", tooltip="What must be made before, such as the prompt or a conditioning."),
                llm_input("The model to unload; with its adapters."),
            ],
            outputs=[io.AnyType.Output("passed", display_name="anything", tooltip="The same.")],
        )

    @classmethod
    def execute(cls, anything: Any, llm: PromptLLM) -> Any:
        """Unload."""
        llm.close()
        return io.NodeOutput(anything)
