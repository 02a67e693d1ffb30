"""A language model of this machine."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..prompting import DEVICES, ENGINES, QUANTIZATIONS, model_file, open_llm
from ..prompting.places import DEFAULT_MODEL, model_names, stamp
from ._prompt_inputs import LLM, PROMPT_CATEGORY
from ._schema import new_schema


class SkipstepPromptLLMLoader(io.ComfyNode):
    """An engine with a model."""

    @classmethod
    def define_schema(cls) -> Any:
        """Inputs and outputs."""
        return new_schema(
            node_id="SkipstepPromptLLMLoader",
            display_name="Prompt LLM Loader",
            category=PROMPT_CATEGORY,
            description=(
                "Takes a language model of this machine, for Prompt Expand. The first prompt loads it; it is unloaded "
                "after a while without one, and when ComfyUI frees its models, for others or by hand."
            ),
            search_aliases=["llama.cpp", "GGUF", "SmolLM2", "prompt enhancer", "magic prompt", "transformers"],
            inputs=[
                io.Combo.Input(
                    "engine",
                    options=list(ENGINES),
                    default=ENGINES[0],
                    tooltip=(
                        "gguf: a GGUF file, by llama.cpp. hf: a transformers folder, with all adapters. echo: no "
                        "model, words of the preset picked by the seed; the widgets below have no effect."
                    ),
                ),
                io.Combo.Input(
                    "model",
                    options=model_names(),
                    default=DEFAULT_MODEL,
                    tooltip="A .gguf file in models/LLM or models/text_encoders, or a folder in models/LLM.",
                ),
                io.Combo.Input(
                    "device",
                    options=list(DEVICES),
                    default=DEVICES[0],
                    tooltip="auto: where ComfyUI has its text encoders, if the engine can use that GPU, or the CPU.",
                ),
                io.Combo.Input(
                    "quantize",
                    options=list(QUANTIZATIONS),
                    default=QUANTIZATIONS[0],
                    tooltip="With hf: weights in 4 bits (nf4) or 8 (int8), by bitsandbytes.",
                ),
                io.Float.Input(
                    "idle_seconds",
                    default=300.0,
                    min=0.0,
                    max=86400.0,
                    step=10.0,
                    tooltip="Unload the model after so many seconds without a prompt; 0 keeps it.",
                ),
            ],
            outputs=[LLM.Output(display_name="llm", tooltip="The model, for Prompt Adapter and Prompt Expand.")],
        )

    @classmethod
    def execute(cls, engine: str, model: str, device: str, quantize: str, idle_seconds: float) -> Any:
        """Open the model; nothing is loaded yet."""
        return io.NodeOutput(open_llm(engine, model, device=device, quantize=quantize, idle_s=idle_seconds))

    @classmethod
    def fingerprint_inputs(cls, engine: str | None = None, model: str | None = None, **_rest: Any) -> Any:
        """Runs again when the model's file has changed."""
        return None if engine is None or model is None or engine == "echo" else stamp(model_file(engine, model))
