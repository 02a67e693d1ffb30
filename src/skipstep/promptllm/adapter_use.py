"""Adapters that a question is answered with: by name and strength, and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..adapters import AdapterInfo
from ..adapters.folder import NAME
from ..errors import OptionError

MAX_STACK = 4
MAX_SCALE = 2.0


@dataclass(frozen=True, kw_only=True)
class AdapterUse:
    """An adapter by its name, and what its effect is multiplied with: -2..2.

    Raises:
        OptionError: if the name or the scale is out of range.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_name(self.name)
        if isinstance(self.scale, bool) or not isinstance(self.scale, (int, float)):
            raise OptionError(f"the scale of the adapter {self.name} must be a number, got {self.scale!r}")
        if not -MAX_SCALE <= self.scale <= MAX_SCALE:  # also refuses NaN
            raise OptionError(
                f"the scale of the adapter {self.name} must be {-MAX_SCALE:g}..{MAX_SCALE:g}, got {self.scale}"
            )

    def __str__(self) -> str:
        return f"{self.name}@{self.scale:g}"


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """An adapter that was inspected, with its scale; several add up."""

    info: AdapterInfo
    scale: float

    @property
    def identity(self) -> str:
        """What the answer depends on."""
        return f"{self.info.identity}@{self.scale!r}"


def check_name(name: object) -> None:
    """See that a name can be one of an adapter.

    Raises:
        OptionError: if not.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise OptionError(
            f"the name of an adapter must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit, "
            f"got {str(name)[:80]!r}"
        )


def check_uses(uses: Sequence[AdapterUse]) -> None:
    """See that adapters can be stacked: four at most, each once.

    Raises:
        OptionError: if not.
    """
    if not all(isinstance(use, AdapterUse) for use in uses):
        raise OptionError(f"adapters must be AdapterUse(name=..., scale=...), got {uses!r}")
    if len(uses) > MAX_STACK:
        raise OptionError(f"adapters must be {MAX_STACK} at most, got {len(uses)}; merge some of them into one")
    names = [use.name for use in uses]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OptionError(f"the adapter {twice} is named twice; name it once, with the sum of the scales")


def parsed_use(text: str) -> tuple[str, float]:
    """`photo@0.7` as what stands before the last `@`, and the scale; 1 without one.

    Raises:
        OptionError: if what follows is no number.
    """
    name, at, scale = text.rpartition("@")
    if not at:
        return text, 1.0
    try:
        return name, float(scale)
    except ValueError as error:
        raise OptionError(f"an adapter is written NAME or NAME@SCALE, as photo@0.7; got {text!r}") from error
