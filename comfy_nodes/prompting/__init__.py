"""The prompt LLM in ComfyUI: where its files are, what a PROMPT_LLM is, and how its memory is given back."""

from .asking import ask, ask_all
from .inspecting import adapter_text
from .llm import PromptLLM
from .opening import DEVICES, ENGINES, QUANTIZATIONS, model_file, open_llm, open_remote
from .words import info_text, shown_text

__all__ = [
    "DEVICES",
    "ENGINES",
    "QUANTIZATIONS",
    "PromptLLM",
    "adapter_text",
    "ask",
    "ask_all",
    "info_text",
    "model_file",
    "open_llm",
    "open_remote",
    "shown_text",
]
