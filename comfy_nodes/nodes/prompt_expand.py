"""A prompt, expanded."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..prompting import PromptLLM, ask, info_text, shown_text
from ._prompt_inputs import PROMPT_CATEGORY, expand_request, expansion_fingerprint, expansion_inputs, llm_input
from ._schema import new_schema


class SkipstepPromptExpand(io.ComfyNode):
    """Details that a language model adds."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPromptExpand",
            display_name="Prompt Expand",
            category=PROMPT_CATEGORY,
            description=(
                "Adds details to a prompt with a language model, and shows the result. Your words stay as they are; "
                "of what is added, only what fits into CLIP's tokens. The same inputs give the same text. Where the "
                "model gives nothing usable, the prompt goes on as it was, with the reason."
            ),
            search_aliases=["prompt enhancer", "magic prompt", "LLM", "upsample prompt", "prompt generator"],
            is_output_node=True,  # or a page that was opened anew would not get the text of a cached result
            inputs=[
                llm_input(),
                io.String.Input(
                    "prompt", default="", multiline=True, dynamic_prompts=True, tooltip="What to draw, in your words."
                ),
                *expansion_inputs(),
            ],
            outputs=[
                io.String.Output("expanded", display_name="prompt", tooltip="What to draw, for CLIP Text Encode."),
                io.String.Output("added", display_name="added", tooltip="Only what the model wrote."),
                io.String.Output(
                    "negative", display_name="negative", tooltip="A negative prompt: the preset's, or the model's."
                ),
                io.String.Output("info", display_name="info", tooltip="Tokens, engine, seed, time and what failed."),
            ],
        )

    @classmethod
    def execute(cls, llm: PromptLLM, prompt: str, on_error: str, unload_after: bool, **options: Any) -> Any:
        """Ask the model."""
        request = expand_request(llm, prompt, **options)
        try:
            made = ask(llm, request, on_error=on_error)
        finally:
            if unload_after:
                llm.close()
        info = info_text(made, limit=request.max_clip_tokens)
        shown = shown_text([made.prompt], info)
        return io.NodeOutput(made.prompt, made.added, made.negative, info, ui={"text": (shown,)})

    @classmethod
    def fingerprint_inputs(cls, preset: str | None = None, **_rest: Any) -> Any:
        """Runs again when the preset's file has changed, and after a failure."""
        return expansion_fingerprint(preset)
