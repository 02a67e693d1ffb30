"""Many prompts, expanded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from skipstep.errors import OptionError
from skipstep.promptllm.request import MAX_SEED

from ..prompting import ask_all, info_text, shown_text
from ._prompt_inputs import PROMPT_CATEGORY, expand_request, expansion_fingerprint, expansion_inputs, llm_input
from ._schema import new_schema


class SkipstepPromptExpandBatch(io.ComfyNode):
    """A list of prompts, or one prompt a line."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPromptExpandBatch",
            display_name="Prompt Expand Batch",
            category=PROMPT_CATEGORY,
            description=(
                "Expands a list of prompts, or a text with one prompt a line, and gives lists: what comes after it "
                "runs once for each. hf answers up to eight at a time. Each prompt has the seed after the one before."
            ),
            search_aliases=["prompt list", "prompts from lines", "LLM batch"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                llm_input(),
                io.String.Input(
                    "prompts",
                    default="",
                    multiline=True,
                    dynamic_prompts=False,
                    tooltip="One prompt a line, or a list of prompts from another node; empty ones are left out.",
                ),
                *expansion_inputs(),
            ],
            outputs=[
                io.String.Output("expanded", display_name="prompt", tooltip="What to draw.", is_output_list=True),
                io.String.Output(
                    "added", display_name="added", tooltip="Only what the model wrote.", is_output_list=True
                ),
                io.String.Output(
                    "negative", display_name="negative", tooltip="The negative prompts.", is_output_list=True
                ),
                io.String.Output(
                    "info", display_name="info", tooltip="Of each: tokens, engine, seed and time.", is_output_list=True
                ),
            ],
        )

    @classmethod
    def execute(
        cls, llm: list[Any], prompts: list[str], on_error: list[str], unload_after: list[bool], **options: list[Any]
    ) -> Any:
        """Ask the model, for as many as it can at a time."""
        model = llm[0]
        first = {name: values[0] for name, values in options.items()}
        request = expand_request(model, "of the list", **first)
        requests = [
            replace(request, prompt=prompt, seed=(request.seed + number) % (MAX_SEED + 1))
            for number, prompt in enumerate(_listed(prompts))
        ]
        try:
            made = ask_all(model, requests, on_error=on_error[0])
        finally:
            if unload_after[0]:
                model.close()
        infos = [info_text(one, limit=request.max_clip_tokens) for one in made]
        shown = "\n\n".join(shown_text([one.prompt], info) for one, info in zip(made, infos, strict=True))
        lists = ([one.prompt for one in made], [one.added for one in made], [one.negative for one in made], infos)
        return io.NodeOutput(*lists, ui={"text": (shown,)})

    @classmethod
    def fingerprint_inputs(cls, preset: list[str | None] | None = None, **_rest: Any) -> Any:
        """Runs again when the preset's file has changed, and after a failure."""
        return expansion_fingerprint(preset[0] if preset else None)


def _listed(prompts: list[str]) -> list[str]:
    """The prompts of a list, or of the lines of a single text.

    Raises:
        OptionError: if there is none.
    """
    texts = prompts[0].splitlines() if len(prompts) == 1 else prompts
    found = [text.strip() for text in texts if text.strip()]
    if not found:
        raise OptionError("prompts must have at least one line that is not empty; say what to draw")
    return found
