"""A prompt expanded for a command: asks, unloads the model, and says so where the prompt stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..engine import ImageRequest
    from ..promptllm import AdapterUse, ExpandRequest, Expansion, PromptExpander


def added_adapters(expander: PromptExpander, given: Sequence[str] | None) -> tuple[AdapterUse, ...] | None:
    """NAME or FOLDER, each with a @SCALE if it is not 1; folders are put on the expander's shelf by their names."""
    if not given:
        return None
    from ..promptllm import AdapterUse, parsed_use

    uses = []
    for name, scale in map(parsed_use, given):
        if name in expander.adapters.listed():
            uses.append(AdapterUse(name=name, scale=scale))
        else:
            expander.adapters.add(name)
            uses.append(AdapterUse(name=Path(name).name, scale=scale))
    return tuple(uses)


def expanded(
    request: ExpandRequest, expander: PromptExpander, *, on_text: Callable[[str], None] | None = None
) -> Expansion:
    """The expansion, with a warning on standard error if it is the prompt as it was; the model is unloaded then."""
    try:
        made = expander.expand(request, on_text)
    finally:
        expander.close()
    if made.reason is not None:
        typer.echo(f"warning: the prompt is as it was: {made.reason}", err=True)
    return made


def with_expansion(
    request: ImageRequest, *, preset: str, engine: str, adapters: Sequence[str] | None
) -> tuple[ImageRequest, dict[str, Any]]:
    """A picture's request with its prompt expanded by its own seed, and what to write into the file of it.

    The negative prompt is the expansion's where the request has none.
    """
    from ..promptllm import ExpandRequest, load_preset, open_engine, open_expander

    expander = open_expander(open_engine(engine))
    uses = added_adapters(expander, adapters)
    asked = ExpandRequest(prompt=request.prompt, preset=load_preset(preset), seed=request.seed, adapters=uses)
    made = expanded(asked, expander)
    changed = replace(request, prompt=made.prompt, negative_prompt=request.negative_prompt or made.negative)
    return changed, {"expansion": {"original": request.prompt, **made.as_dict()}}
