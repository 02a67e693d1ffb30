"""The LoRA that ships for SmolLM2-135M-Instruct: it writes the details of the presets better than the plain model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def rewriter_folder() -> Path:
    """The adapter's folder in the package; tools/prompt_rewriter made it, from word lists of ours."""
    return Path(str(resources.files("skipstep.promptllm") / "rewriter"))
