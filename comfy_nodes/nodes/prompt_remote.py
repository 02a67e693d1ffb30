"""A language model on a server."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..prompting import open_remote
from ._prompt_inputs import LLM, PROMPT_CATEGORY
from ._schema import new_schema


class SkipstepPromptLLMRemote(io.ComfyNode):
    """A server that speaks OpenAI's chat completions."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPromptLLMRemote",
            display_name="Prompt LLM Remote",
            category=PROMPT_CATEGORY,
            description=(
                "A language model on a server with /v1/chat/completions: vLLM, SGLang, Ollama, llama-server and "
                "others. A key is read from the environment variable SKIPSTEP_PROMPT_API_KEY of ComfyUI's process, and "
                "is never in a workflow."
            ),
            search_aliases=["OpenAI", "Ollama", "vLLM", "LM Studio", "llama-server", "API"],
            inputs=[
                io.String.Input(
                    "url", default="http://127.0.0.1:11434", tooltip="Of the server, with or without /v1; no key in it."
                ),
                io.String.Input("model", default="llama3.2", tooltip="The model's name on the server."),
            ],
            outputs=[LLM.Output(display_name="llm", tooltip="The model, for Prompt Expand.")],
        )

    @classmethod
    def execute(cls, url: str, model: str) -> Any:
        """Nothing is asked yet."""
        return io.NodeOutput(open_remote(url, model))
