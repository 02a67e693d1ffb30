"""A prompt expanded for a command: asks, unloads the model, and says so where the prompt stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..engine import ImageRequest
    from ..promptllm import Engine, ExpandRequest, Expansion


def expanded(
    request: ExpandRequest, engine: Engine, *, cached: bool, on_text: Callable[[str], None] | None = None
) -> Expansion:
    """The expansion, with a warning on standard error if it is the prompt as it was."""
    from ..promptllm import ClipTokens, ExpansionFolder, PromptExpander, default_folder

    kept = ExpansionFolder(default_folder()) if cached else None
    expander = PromptExpander(engine, tokens=ClipTokens(), kept=kept)
    try:
        made = expander.expand(request, on_text)
    finally:
        expander.close()
    if made.reason is not None:
        typer.echo(f"warning: the prompt is as it was: {made.reason}", err=True)
    return made


def with_expansion(request: ImageRequest, *, preset: str, engine: str) -> tuple[ImageRequest, dict[str, Any]]:
    """A picture's request with its prompt expanded by its own seed, and what to write into the file of it.

    The negative prompt is the expansion's where the request has none.
    """
    from ..promptllm import ExpandRequest, load_preset, open_engine

    asked = ExpandRequest(prompt=request.prompt, preset=load_preset(preset), seed=request.seed)
    made = expanded(asked, open_engine(engine), cached=True)
    changed = replace(request, prompt=made.prompt, negative_prompt=request.negative_prompt or made.negative)
    return changed, {"expansion": {"original": request.prompt, **made.as_dict()}}
