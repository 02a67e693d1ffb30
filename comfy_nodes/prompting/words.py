"""Expansions in words."""

from __future__ import annotations

from collections.abc import Sequence

from skipstep.promptllm import Expansion


def info_text(made: Expansion, *, limit: int) -> str:
    """How a prompt came to be."""
    where = "from disk" if made.cached else f"{made.seconds:.2f} s"
    lines = [
        f"not expanded: {made.reason}" if made.reason else "",
        f"tokens: {made.clip_tokens} of {limit}, as CLIP counts",
        f"engine: {made.engine}, {made.model}, preset {made.preset}, seed {made.seed}, {where}",
        f"adapters: {', '.join(made.adapters)}" if made.adapters else "",
        f"negative: {made.negative}" if made.negative else "",
    ]
    return "\n".join(line for line in lines if line)


def shown_text(prompts: Sequence[str], info: str) -> str:
    """The prompts and the information, as a node shows them."""
    return "\n\n".join([*prompts, info])
