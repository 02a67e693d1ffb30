"""What an expansion is asked for with, and what comes of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError
from .adapter_use import AdapterUse, check_uses
from .preset import Preset

MAX_SEED = 2**32 - 1
CLIP_TOKENS = 77  # what CLIP reads: 75 and the two ends


def new_seed() -> int:
    """A seed drawn at random."""
    return secrets.randbelow(MAX_SEED + 1)


@dataclass(frozen=True, kw_only=True)
class ExpandRequest:
    """A prompt to expand.

    `max_tokens`, of the language model's, and `temperature` are the preset's where they are None; `max_clip_tokens`
    counts CLIP's two ends. With `keep` the prompt stays as it is, and is added to; without, the model rewrites it.
    With `schema` the model answers in JSON, and writes the negative prompt too. `timeout_s` is for the whole answer,
    and for loading the model. `adapters` are on the model's shelf, four at most, and add up; with None, the shelf's
    usual one helps where the prompt is kept and there is no schema. Without a seed one is drawn, and kept here.

    Raises:
        OptionError: if a value is out of range; the message names it, the range and the remedy.
    """

    prompt: str
    preset: Preset
    seed: int = field(default_factory=new_seed)
    max_tokens: int | None = None
    temperature: float | None = None
    max_clip_tokens: int = CLIP_TOKENS
    keep: bool = True
    schema: bool = False
    timeout_s: float = 60.0
    adapters: tuple[AdapterUse, ...] | None = None

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if not isinstance(self.preset, Preset):
            raise OptionError(f"preset must be a Preset, got {self.preset!r}; use load_preset(name)")
        check_uses(self.adapters or ())
        numbers: tuple[tuple[str, float | None, float, float], ...] = (
            ("seed", self.seed, 0, MAX_SEED),
            ("max_tokens", self.max_tokens, 1, 2048),
            ("temperature", self.temperature, 0, 2),
            ("max_clip_tokens", self.max_clip_tokens, 3, 8 * CLIP_TOKENS),
            ("timeout_s", self.timeout_s, 0.01, 3600),
        )
        for name, value, least, most in numbers:
            if value is None:
                continue
            if name in ("seed", "max_tokens", "max_clip_tokens") and not isinstance(value, int):
                raise OptionError(f"{name} must be a whole number, got {value!r}")
            if not least <= value <= most:  # also refuses NaN
                raise OptionError(f"{name} must be {least:g}..{most:g}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """An expanded prompt.

    `prompt` is what to draw, `added` the part of it that the model wrote; `clip_tokens` counts it with the two ends.
    `adapters` are NAME@SCALE.
    `reason` says why nothing was added; the prompt is then the one that was asked for. `cached` is True for an answer
    from disk, whose `seconds` are those of reading it.
    """

    prompt: str
    added: str
    negative: str
    clip_tokens: int
    seed: int
    engine: str
    model: str
    preset: str
    seconds: float
    adapters: tuple[str, ...] = ()
    reason: str | None = None
    cached: bool = False

    def as_dict(self) -> dict[str, Any]:
        """All of it, plain enough for JSON."""
        return dict(vars(self))


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str) or not prompt.strip():
        raise OptionError(f"the prompt must be text to expand, got {prompt!r}; say what to draw")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise OptionError(f"the prompt must be text that can be written as UTF-8, got {prompt!r}") from error
