"""Adapters on a language model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.promptllm.adapter_use import MAX_SCALE

from ..prompting import PromptLLM
from ..prompting.places import adapter_names, adapter_path, stamp
from ._prompt_inputs import LLM, PROMPT_CATEGORY, llm_input
from ._schema import new_schema


class SkipstepPromptAdapter(io.ComfyNode):
    """One adapter more."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPromptAdapter",
            display_name="Prompt Adapter",
            category=PROMPT_CATEGORY,
            description=(
                "Puts an adapter (a PEFT folder: LoRA and others) on a language model. Up to four in a row add up. The "
                "folder is checked before anything is loaded, and refused with the reason; the model is not copied."
            ),
            search_aliases=["LoRA", "PEFT", "QLoRA", "DoRA", "SoRA", "prompt LoRA"],
            inputs=[
                llm_input("Of Prompt LLM Loader, or of another Prompt Adapter."),
                io.Combo.Input(
                    "adapter",
                    options=adapter_names(),
                    tooltip="rewriter, for the default model, or a folder of PEFT's in models/prompt_adapters.",
                ),
                io.Float.Input(
                    "scale",
                    default=1.0,
                    min=-MAX_SCALE,
                    max=MAX_SCALE,
                    step=0.05,
                    tooltip="What its effect is multiplied with; 0 is as if it were not there.",
                ),
            ],
            outputs=[LLM.Output(display_name="llm", tooltip="The same model, with the adapter.")],
        )

    @classmethod
    def execute(cls, llm: PromptLLM, adapter: str, scale: float) -> Any:
        """Check the adapter and note it down."""
        return io.NodeOutput(llm.adapted(adapter_path(adapter), name=adapter, scale=scale))

    @classmethod
    def fingerprint_inputs(cls, adapter: str | None = None, **_rest: Any) -> Any:
        """Runs again when a file of the adapter has changed."""
        return None if adapter is None else stamp(adapter_path(adapter))
