"""What the nodes of the prompt LLM have in common: their socket, and the widgets of an expansion."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from skipstep.promptllm import ExpandRequest
from skipstep.promptllm.request import CLIP_TOKENS, MAX_SEED

from ..prompting import PromptLLM
from ..prompting.asking import ON_ERROR, ORIGINAL, Failures
from ..prompting.places import preset_file, preset_names, preset_of, stamp
from ._schema import CATEGORY

PROMPT_CATEGORY = f"{CATEGORY}/prompt"
LLM = io.Custom("PROMPT_LLM")
PRESETS_OWN = -1.0  # temperature
_USUAL = "photo"


def llm_input(tooltip: str = "Of Prompt LLM Loader, Prompt LLM Remote or Prompt Adapter.") -> Any:
    """A language model."""
    return LLM.Input("llm", tooltip=tooltip)


def expansion_inputs() -> list[Any]:
    """How to expand."""
    return [
        io.Combo.Input(
            "preset",
            options=preset_names(),
            default=_USUAL,
            tooltip="The style of what is added; those of yours are TOML files in models/prompt_presets.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            control_after_generate=True,
            tooltip="The same seed writes the same text.",
        ),
        io.Float.Input(
            "temperature",
            default=PRESETS_OWN,
            min=PRESETS_OWN,
            max=2.0,
            step=0.05,
            tooltip="Higher is more varied; 0 always takes the likeliest word, and below 0 the preset decides.",
        ),
        io.Int.Input(
            "max_clip_tokens",
            default=CLIP_TOKENS,
            min=3,
            max=8 * CLIP_TOKENS,
            tooltip="CLIP's tokens of the whole prompt, both ends counted: 77 is what CLIP reads at once.",
        ),
        io.Boolean.Input(
            "keep",
            default=True,
            tooltip="Keep the prompt as it is, and add to it; off, the model rewrites it.",
        ),
        io.Boolean.Input(
            "schema",
            default=False,
            tooltip="Have the model answer in JSON, and write the negative prompt too; off, it is the preset's.",
        ),
        io.Float.Input(
            "timeout",
            default=60.0,
            min=1.0,
            max=3600.0,
            step=1.0,
            tooltip="Seconds for a whole answer, and for loading the model before the first.",
        ),
        io.Combo.Input(
            "on_error",
            options=list(ON_ERROR),
            default=ORIGINAL,
            tooltip="Where the model gives nothing: original goes on with the prompt as it was, raise stops.",
        ),
        io.Boolean.Input(
            "unload_after",
            default=False,
            tooltip="Give the model's memory back when done; the next prompt loads it again.",
        ),
    ]


def expand_request(
    llm: PromptLLM,
    prompt: str,
    *,
    preset: str,
    seed: int,
    temperature: float,
    max_clip_tokens: int,
    keep: bool,
    schema: bool,
    timeout: float,
) -> ExpandRequest:
    """What the widgets ask for.

    Raises:
        OptionError: if the prompt is empty, or the preset's file is wrong.
    """
    return ExpandRequest(
        prompt=prompt,
        preset=preset_of(preset),
        seed=seed,
        temperature=None if temperature < 0 else temperature,
        max_clip_tokens=max_clip_tokens,
        keep=keep,
        schema=schema,
        timeout_s=timeout,
        adapters=llm.adapters or None,  # the usual one, where no node names any
    )


def expansion_fingerprint(preset: str | None) -> Any:
    """Changes with the preset's file, and when a question failed; `preset` is None where it comes from a node."""
    return Failures.count, None if preset is None else stamp(preset_file(preset))
