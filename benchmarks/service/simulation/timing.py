"""How long passes take, from figures that were measured or assumed."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from skipstep.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Milliseconds of a full and of a reuse pass by rows, and what a row and a batch cost besides.

    `begin_ms` (text encoders) and `end_ms` (VAE) hold the GPU for each row, as the worker has one thread. `commit_ms`
    is the worker's wait for the store whenever rows join. `after_ms` (files, the answer) is part of a job and not of
    the GPU's time. `source` says where the figures come from.
    """

    source: str
    full_ms: Mapping[int, float]
    reuse_ms: Mapping[int, float]
    begin_ms: float = 0.0
    end_ms: float = 0.0
    commit_ms: float = 0.0
    after_ms: float = 0.0

    def __post_init__(self) -> None:
        for name in ("full_ms", "reuse_ms"):
            given = getattr(self, name)
            if 1 not in given:
                raise OptionError(f"{name} needs the milliseconds of 1 row, got {dict(given)}; measure at least that")
            for rows, ms in given.items():
                if rows < 1 or not 0 <= ms < float("inf"):
                    raise OptionError(f"{name} has {ms} ms for {rows} rows; rows are 1 or more, ms 0 or more")
        for name in ("begin_ms", "end_ms", "commit_ms", "after_ms"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name} must be 0 or more, got {getattr(self, name)}")

    def pass_s(self, kind: str, rows: int) -> float:
        """Seconds of a pass, "F" or "r"; sizes between and beyond the given ones lie on straight lines."""
        times = self._full_s if kind == "F" else self._reuse_s
        while len(times) <= rows:
            times.append(_on_line(self.full_ms if kind == "F" else self.reuse_ms, len(times)) / 1000)
        return times[rows]

    def run_s(self, passes: str, rows: int) -> float:
        """Seconds of the GPU for so many rows that begin and end together."""
        besides = self.commit_ms + rows * (self.begin_ms + self.end_ms)
        return sum(self.pass_s(kind, rows) for kind in passes) + besides / 1000

    @cached_property
    def _full_s(self) -> list[float]:
        return [0.0]

    @cached_property
    def _reuse_s(self) -> list[float]:
        return [0.0]


def _on_line(given: Mapping[int, float], rows: int) -> float:
    if rows in given:
        return given[rows]
    known = sorted(given)
    if len(known) == 1:
        return given[known[0]] * rows / known[0]  # no gain by a batch is the careful guess
    place = min(max(bisect_left(known, rows), 1), len(known) - 1)
    low, high = known[place - 1], known[place]
    return given[low] + (given[high] - given[low]) * (rows - low) / (high - low)


def read_timing(path: Path) -> Timing:
    """The figures of a JSON file: the fields of `Timing`, `full_ms` and `reuse_ms` by rows.

    Raises:
        OptionError: if it is not such a file.
    """
    try:
        given = json.loads(path.read_text())
        by_rows = {
            name: {int(rows): float(ms) for rows, ms in given.pop(name).items()} for name in ("full_ms", "reuse_ms")
        }
        return Timing(**by_rows, **given)
    except OptionError:
        raise
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OptionError(
            f"{path} has no timing ({error}); it is "
            '{"source": "...", "full_ms": {"1": 100}, "reuse_ms": {"1": 10}}'
        ) from error


def passes_of(steps: int, *, interval: int = 1, schedule: str = "") -> str:
    """Kinds of a run's passes: a schedule such as `FrrFrr` repeated, or a full pass every `interval`.

    Raises:
        OptionError: if a number is below 1, or the schedule is none.
    """
    if steps < 1 or interval < 1:
        raise OptionError(f"steps and interval must be 1 or more, got {steps} and {interval}")
    pattern = schedule or "F" + "r" * (interval - 1)
    if pattern[0] != "F" or set(pattern) - {"F", "r"}:
        raise OptionError(f"a schedule begins with F (full) and has F and r (reuse) only, got {pattern!r}")
    return (pattern * (steps // len(pattern) + 1))[:steps]
