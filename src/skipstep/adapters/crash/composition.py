"""Which layers an emulator runs, in what order, and which of them are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Composition:
    """Of `total` layers, `trained` are copied and trained and `kept` run as they are; all others are removed.

    `slots` is what runs: the numbers of the full model's layers from the bottom up. Where layers are shared, it is as
    long as the full model is.
    """

    total: int
    trained: tuple[int, ...]
    kept: tuple[int, ...]
    slots: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, numbers in (("trained", self.trained), ("kept", self.kept)):
            if list(numbers) != sorted(set(numbers)) or not set(numbers) <= set(range(self.total)):
                raise OptionError(f"{name} layers must rise within 0..{self.total - 1}, got {list(numbers)}")
        if not self.trained:
            raise OptionError("at least one layer must be trained")
        if both := sorted({*self.trained} & {*self.kept}):
            raise OptionError(f"layers {both} are both trained and kept; a layer is one or the other")
        if {*self.slots} != {*self.trained, *self.kept} or any(self.slots.count(layer) != 1 for layer in self.trained):
            raise OptionError(f"slots must run each trained layer once and the kept ones, got {list(self.slots)}")


def outer_layers(total: int, *, bottom: int = 2, top: int = 2) -> tuple[int, ...]:
    """The numbers of the lowest and the highest layers, which offsite-tuning trains.

    Raises:
        OptionError: if they would leave no layer in between.
    """
    if bottom < 0 or top < 0 or bottom + top < 1 or bottom + top >= total:
        raise OptionError(f"bottom and top must leave one of {total} layers in between, got {bottom} and {top}")
    return (*range(bottom), *range(total - top, total))


def middle_layers(total: int, trained: Sequence[int]) -> tuple[int, ...]:
    """All layers that are not trained."""
    return tuple(layer for layer in range(total) if layer not in trained)


def dropping(total: int, *, trained: Sequence[int], kept: Sequence[int]) -> Composition:
    """Removed layers are left out."""
    return Composition(total=total, trained=tuple(trained), kept=tuple(kept), slots=tuple(sorted([*trained, *kept])))


def sharing(total: int, *, trained: Sequence[int], kept: Sequence[int]) -> Composition:
    """In the place of each removed layer the nearest kept one runs; of two as near, the lower.

    Raises:
        OptionError: if no layer is kept.
    """
    if not kept:
        raise OptionError("sharing needs at least one kept layer")
    slots = tuple(
        layer if layer in trained else min(kept, key=lambda near: (abs(near - layer), near)) for layer in range(total)
    )
    return Composition(total=total, trained=tuple(trained), kept=tuple(kept), slots=slots)
