"""What a comparison over many pictures is asked for with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ..errors import OptionError
from .request import ImageRequest

BASELINE = "uncached"


@dataclass(frozen=True, kw_only=True)
class QualityStudy:
    """What to compare.

    Every candidate (a name and what `ImageRequest` takes as cache) draws every prompt with every seed, with the steps,
    sampler, size and guidance of `request`, whose own prompt, seed and cache are not used.

    Raises:
        OptionError: without prompts or candidates, with fewer than two seeds, with one given twice, or with a cache
            that a request refuses.
    """

    request: ImageRequest
    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1)
    candidates: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.prompts:
            raise OptionError("prompts must be one or more, got none")
        if len(set(self.seeds)) < 2:
            raise OptionError(
                f"seeds must be two or more, got {len(set(self.seeds))}; how close a picture stays depends on its "
                "noise, and one seed cannot show how much"
            )
        if not self.candidates:
            raise OptionError("candidates must be one or more, got none")
        for name, values in (("prompts", self.prompts), ("seeds", self.seeds)):
            twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
            if twice:
                raise OptionError(f"{name} must differ, got {twice[0]!r} twice; the same picture counts once")
        for prompt, seed in product(self.prompts, self.seeds):
            replace(self.request, prompt=prompt, seed=seed)
        for name, cache in self.candidates.items():
            if not name.strip() or name == BASELINE:
                raise OptionError(f"a candidate must have a name other than {BASELINE!r}, got {name!r}")
            replace(self.request, cache=cache)
