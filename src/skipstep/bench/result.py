"""What a benchmark measured: figures of each row, and what was used to measure them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from ..deepcache import RunReport
from .case import BenchCase, BenchRow
from .clock import Timing
from .subjects import Made

COLD, WARM, PARTLY_WARM = "cold", "warm", "partly warm"  # graphs: made anew, found on disk, both


@dataclass
class RowResult:
    """What a row did. Ratios are the baseline's time over this row's, one a round; above 1 is faster."""

    row: BenchRow
    backend: str
    skipped: str | None = None  # why it did not run
    warm_up_s: float = 0.0  # compiling, loading, first calls
    timings: list[list[Timing]] = field(default_factory=list)  # [round][input]
    ratios: list[float] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)  # of the latest round
    psnr: list[float] = field(default_factory=list)  # dB, pixels
    ssim: list[float] = field(default_factory=list)
    latent_psnr: list[float] = field(default_factory=list)  # dB
    latent_error: list[float] = field(default_factory=list)  # relative
    peak_bytes: int | None = None  # of the device, highest of all runs
    compiled: dict[str, Any] = field(default_factory=dict)  # of this row's own runs; rows share graphs
    peer: str | None = None

    @property
    def ratio(self) -> float:
        """The median over the rounds."""
        return median(self.ratios)

    @property
    def graph_cache(self) -> str | None:
        """Whether the row's graphs were on disk before, and so were ready in less time; None if it made none."""
        found = self.compiled.get("loads", 0) + self.compiled.get("cached", 0)
        made = self.compiled.get("compiles", 0) - self.compiled.get("cached", 0)
        if found and made:
            return PARTLY_WARM
        return WARM if found else COLD if made else None

    @property
    def report(self) -> RunReport | None:
        """Of the latest run; None for another library's."""
        return self.made[0].report if self.made else None

    def flop_ceiling(self, steps: int) -> float | None:
        """The most that its passes can gain over a run of `steps` full passes, by FLOPs."""
        ceiling = None if self.report is None else self.report.flop_ceiling
        return None if ceiling is None else ceiling * steps / (self.row.steps or steps)


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All rows of a case, the baseline first."""

    case: BenchCase
    device: torch.device
    clock: str  # "wall" or "cpu"
    rows: list[RowResult]
    keeps_graphs: bool = False  # in a folder that outlives the benchmark; else in one that was empty
    commit: str | None = None  # of the code, if it is in a checkout

    def reached(self, result: RowResult) -> float | None:
        """A row's ratio over what compiling alone gains times its FLOP ceiling; None where there is no ceiling.

        What compiling alone gains is the ratio of the row with the same compiler and no reuse; 1 without such a row.
        """
        ceiling = result.flop_ceiling(self.case.steps)
        if ceiling is None:
            return None
        same = (result.backend, result.row.compile)
        plain = [
            other
            for other in self.rows
            if (other.backend, other.row.compile) == same and other.ratios and is_uncached(other.row)
        ]
        return result.ratio / ((plain[0].ratio if plain else 1.0) * ceiling)


def is_uncached(row: BenchRow) -> bool:
    """Whether every pass is full and the steps are the case's."""
    return row.cache is None and row.reuse is None and row.steps is None and row.peer is None
