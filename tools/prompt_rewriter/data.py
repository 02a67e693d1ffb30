"""The pairs as chats that begin as the expander asks an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from skipstep.promptllm import ExpandRequest, load_preset
from skipstep.promptllm.asked import Asked, question

from .pairs import Pair, pairs
from .styles import STYLES


def write_data(path: Path, subjects: Mapping[str, tuple[str, ...]], *, chats: int, length: int, seed: int) -> None:
    """For each preset `chats` lines of {"prompt": turns, "completion": turns}, in turn, with `length` answers each.

    What comes before an answer is most of the work of a step: a chat of several answers is cheaper than several chats.
    """
    drawn = {preset: pairs(preset, subjects, count=chats * length, seed=seed) for preset in STYLES}
    lines = (
        _line(preset, [next(found) for _ in range(length)]) for _ in range(chats) for preset, found in drawn.items()
    )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _line(preset: str, found: list[Pair]) -> dict[str, list[dict[str, str]]]:
    (prompt, answer), *others = found
    request = ExpandRequest(prompt=prompt, preset=load_preset(preset), seed=0)
    asked = question(Asked(request=request, adapters=(), started=0.0), frozenset())
    later = chain.from_iterable((_turn("user", prompt), _turn("assistant", added)) for prompt, added in others)
    return {
        "prompt": [_turn(message.role, message.text) for message in asked.messages],
        "completion": [_turn("assistant", answer), *later],
    }


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
