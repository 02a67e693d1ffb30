"""What a plan is searched and verified on: prompts, or one pair of conditionings on several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from skipstep.errors import OptionError
from skipstep.plan.prompts import parse_prompts

SMALLEST = 2
_HELD_OUT = 4  # one in so many


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One picture or clip; conditionings are ComfyUI's."""

    positive: Any
    negative: Any
    seed: int


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """Those that a search sees, and the last quarter, which it does not."""

    kind: str  # "prompts" or "seeds"
    search: Sequence[Subject]
    held_out: Sequence[Subject]


def prompt_subjects(clip: Any, texts: str, negative: str, *, first_seed: int) -> Subjects:
    """A subject for each line, with a seed of its own; blank lines and lines that start with # are left out.

    Raises:
        OptionError: if there are fewer than two, or one twice.
    """
    prompts = parse_prompts(texts.encode(), "prompts")
    _check_count(len(prompts), "prompts")
    avoided = _encoded(clip, negative)
    subjects = [
        Subject(positive=_encoded(clip, prompt), negative=avoided, seed=first_seed + index)
        for index, prompt in enumerate(prompts)
    ]
    return _split(subjects, "prompts")


def seed_subjects(positive: Any, negative: Any, *, first_seed: int, count: int) -> Subjects:
    """The same conditionings on seeds that count up.

    Raises:
        OptionError: if there are fewer than two.
    """
    _check_count(count, "seeds")
    seeds = range(first_seed, first_seed + count)
    return _split([Subject(positive=positive, negative=negative, seed=seed) for seed in seeds], "seeds")


def _check_count(count: int, kind: str) -> None:
    if count < SMALLEST:
        raise OptionError(
            f"a plan needs {SMALLEST} {kind} or more, got {count}; 8 are good: the last quarter is held out to verify "
            "the plan, since a search fits what it sees"
        )


def _split(subjects: Sequence[Subject], kind: str) -> Subjects:
    held_out = max(1, len(subjects) // _HELD_OUT)
    return Subjects(kind=kind, search=tuple(subjects[:-held_out]), held_out=tuple(subjects[-held_out:]))


def _encoded(clip: Any, text: str) -> Any:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))
