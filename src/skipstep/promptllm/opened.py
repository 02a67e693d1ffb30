"""An expander with all that comes with skipstep."""

from __future__ import annotations

from pathlib import Path

from .clip_tokens import ClipTokens
from .engine import Engine
from .expander import PromptExpander
from .kept import ExpansionFolder, default_folder


def open_expander(engine: Engine, *, cached: bool = True, adapters: Path | None = None) -> PromptExpander:
    """An expander that counts as SDXL's CLIP does, and with `cached` keeps answers in the user's cache folder.

    `adapters` is the folder in which all adapters must lie; without one they may lie anywhere.

    Raises:
        MissingExtraError: without transformers, whose tokenizer counts.
        OutputError: as `cache_folder`.
    """
    kept = ExpansionFolder(default_folder()) if cached else None
    return PromptExpander(engine, tokens=ClipTokens(), kept=kept, adapters=adapters)
