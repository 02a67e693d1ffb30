"""The nodes of the prompt LLM, called with usual inputs."""

from __future__ import annotations

from typing import Any

from skipstep.promptllm import ClipTokens, Engine, PromptExpander

from .process import Core, Pack

DEFAULT_MODEL = "SmolLM2-135M (default)"
LOADER = {"engine": "echo", "model": DEFAULT_MODEL, "device": "auto", "quantize": "none", "idle_seconds": 300.0}
EXPAND = {
    "preset": "photo",
    "seed": 1,
    "temperature": -1.0,
    "max_clip_tokens": 77,
    "keep": True,
    "schema": False,
    "timeout": 60.0,
    "on_error": "original",
    "unload_after": False,
}


def load(core: Core, **inputs: Any) -> Any:
    """A PROMPT_LLM of the loader; without a model, if nothing else is said."""
    return core.call("SkipstepPromptLLMLoader", **{**LOADER, **inputs})[0]


def with_engine(pack: Pack, engine: Engine) -> Any:
    """A PROMPT_LLM with an engine of the test's, which keeps nothing on disk."""
    made = pack.module("comfy_nodes.prompting").PromptLLM
    return made(expander=PromptExpander(engine, tokens=ClipTokens()))


def expand(core: Core, llm: Any, prompt: str = "a cat on a beach", **inputs: Any) -> tuple[str, str, str, str]:
    """The prompt, what was added, the negative prompt, and the information."""
    outputs = core.call("SkipstepPromptExpand", llm=llm, prompt=prompt, **{**EXPAND, **inputs})
    prompt, added, negative, info = outputs
    return prompt, added, negative, info


def expand_batch(core: Core, llm: Any, prompts: list[str], **inputs: Any) -> tuple[list[str], ...]:
    """The same of many, in lists."""
    listed = {name: [value] for name, value in {**EXPAND, **inputs}.items()}
    return core.call("SkipstepPromptExpandBatch", llm=[llm], prompts=prompts, **listed)


def fingerprint(core: Core, node: str, **inputs: Any) -> Any:
    """What ComfyUI compares to know whether a node must run again, though its inputs are the same."""
    return core.node(node).fingerprint_inputs(**inputs)
