"""Rows that share passes: reuse passes run first, and full passes once every row has come to its next one.

No server batches cached requests: rows at different places of their schedules would want different passes. But reuse
passes cost little, so the rows that have some before their next full pass take them, the others wait that long, and
then all take the full pass together. A new row begins with a full pass, so that is where it joins. Each row keeps its
own features, schedule, forecast, prompt, seed, guidance and number of steps, and gets what it would get alone but for
the rounding of floating point numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ..deepcache import SplitMaker, live_split
from ..errors import OptionError
from .row import Row, RowCancelledError
from .unet_calls import FULL, REUSE, UNetCall, joined, parted

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One pass of several rows."""

    kind: str  # "F" full, "r" reuse
    rows: tuple[Row[Any], ...]


class ContinuousBatch:
    """Pipeline calls whose UNet passes are one; for use by one thread, which owns the UNet.

    `split` makes the passes of the UNet: `live_split`, or a compiler, for which `samples` lists the sizes that passes
    are filled up to, in samples (two for each picture with guidance). `max_rows` run in one pass at most; a pass that
    does not fit into memory is halved, which is remembered for calls of its kind: in `fitting`, for the UNet's next
    batches, too.

    Raises:
        OptionError: if `max_rows` is below 1.
    """

    def __init__(
        self,
        unet: Any,
        split: SplitMaker = live_split,
        *,
        max_rows: int = 8,
        samples: Sequence[int] = (),
        fitting: dict[Hashable, int] | None = None,
    ) -> None:
        if max_rows < 1:
            raise OptionError(f"max_rows must be 1 or more, got {max_rows}")
        self.max_rows = max_rows
        self.rows: list[Row[Any]] = []
        self._unet = unet
        self._make_split = split
        self._samples = sorted(samples)
        self._splits: dict[tuple[int, ...], Any] = {}
        self._fitting = {} if fitting is None else fitting

    def start(self, draw: Callable[[SplitMaker], T]) -> Row[T]:
        """Take in a row, which runs up to its first pass; `draw` is to use the split maker it is given."""
        row = Row(draw, self._unet)
        with torch.no_grad():
            row.begin()
        if not row.is_done:
            self.rows.append(row)
        return row

    @property
    def is_joinable(self) -> bool:
        """Whether the next pass is full, so that a row that starts now would share it."""
        return not any(_call(row).kind == REUSE for row in self.rows)

    def step(self) -> Tick | None:
        """Run the next pass; rows that end by it are no longer in `rows`. None if there are none."""
        group = self._next_group()
        if not group:
            return None
        with torch.no_grad():  # outside of the rows, whose own blocks end in another order than they began
            return self._run(group)

    def cancel(self, row: Row[Any], error: BaseException | None = None) -> None:
        """End a row at the pass it waits for, with an error; the others do not notice."""
        with torch.no_grad():
            row.fail(RowCancelledError("cancelled") if error is None else error)
        self._drop_done()

    def _next_group(self) -> list[Row[Any]]:
        """Rows whose calls can be one: most of those with reuse passes, or those with the row that waited longest."""
        kind = FULL if self.is_joinable else REUSE
        groups: dict[Hashable, list[Row[Any]]] = defaultdict(list)
        for row in self.rows:  # who waits longest is first
            if _call(row).kind == kind:
                groups[_call(row).likeness].append(row)
        if not groups:
            return []
        likeness = next(iter(groups)) if kind == FULL else max(groups, key=lambda one: len(groups[one]))
        return groups[likeness][: self._fitting.get(likeness, self.max_rows)]

    def _run(self, group: list[Row[Any]]) -> Tick:
        calls = [_call(row) for row in group]
        try:
            made = self._pass(calls)
        except Exception as error:  # noqa: BLE001 - handed to the row that it belongs to
            return self._without_each_other(group, error)
        for row, part in zip(group, made, strict=True):
            row.give(part)
        self._drop_done()
        self.rows.sort(key=group.__contains__)  # behind those that waited
        return Tick(kind=calls[0].kind, rows=tuple(group))

    def _without_each_other(self, group: list[Row[Any]], error: Exception) -> Tick:
        """After a pass failed: of several rows with half of them, or with one to find whose fault it was."""
        call = _call(group[0])
        if len(group) > 1:
            fewer = 1
            if isinstance(error, torch.OutOfMemoryError):
                fewer = self._fitting[call.likeness] = len(group) // 2
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            error.__traceback__ = None  # it holds the tensors of the pass that failed
            return self._run(group[:fewer])
        group[0].fail(error)
        self._drop_done()
        return Tick(kind=call.kind, rows=tuple(group))

    def _pass(self, calls: Sequence[UNetCall]) -> list[Any]:
        needed = sum(call.samples for call in calls)
        samples = next((size for size in self._samples if size >= needed), needed)
        features, named = joined(calls, samples=samples)
        branches = tuple(sorted({branch for call in calls for branch in call.branches}))
        if calls[0].kind == FULL:
            made = self._split(branches).full(**named)
            output, kept = made if len(branches) > 1 else (made[0], {branches[0]: made[1]})
            return parted((output, kept), calls, samples=samples)
        split = self._split_with(branches[0])
        return parted((split.reuse(features, **named),), calls, samples=samples)

    def _split(self, branches: tuple[int, ...]) -> Any:
        if branches not in self._splits:
            self._splits[branches] = self._make_split(self._unet, branches)
        return self._splits[branches]

    def _split_with(self, branch: int) -> Any:
        """A split for reuse passes at a branch: one that made features of it, whatever else it made."""
        for branches, split in self._splits.items():
            if branch in branches:
                return split.at(branch) if len(branches) > 1 else split
        return self._split((branch,))

    def _drop_done(self) -> None:
        self.rows = [row for row in self.rows if not row.is_done]


def _call(row: Row[Any]) -> UNetCall:
    assert row.call is not None
    return row.call
