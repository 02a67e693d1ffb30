"""A subject whose runs cost what they are told to cost, and results made by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from skipstep import RunReport
from skipstep.bench import BenchCase, BenchResult, BenchRow, measure, run_case
from skipstep.bench.clock import Timing
from skipstep.bench.subjects import Made
from skipstep.deepcache import PassFlops

FULL, REUSE = 100, 10  # FLOPs of a pass


def report(passes: str) -> RunReport:
    """Of a run with these passes, of 2 and 0.5 seconds."""
    return RunReport(
        passes=passes,
        full_s=(2.0,) * passes.count("F"),
        reuse_s=(0.5,) * passes.count("r"),
        loop_s=3.0,
        cache_bytes=3 * 2**20,
        flops=PassFlops(full=FULL, reuse=REUSE),
    )


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class FakeSubject:
    """Runs cost seconds by the row's name and, as on a machine that slows down, more from run to run."""

    device = torch.device("cpu")
    unet = None

    def __init__(self, costs: dict[str, float], *, runs: int = 1, drift: float = 0.0, passes: str = "FFFF") -> None:
        self.runs = runs
        self.now = 0.0
        self.calls: list[tuple[str, int]] = []
        self.latents: Callable[[BenchRow, int], Tensor] = lambda _, index: torch.arange(8.0) + index
        self.images: Callable[[BenchRow, int], Image.Image | None] = lambda _, index: picture(index)
        self.refusal: dict[str, Exception] = {}
        self.compiles: dict[str, int] = {}  # graphs at the first run of a row
        self._costs, self._drift, self._passes = costs, drift, passes

    def run(self, row: BenchRow, compiler: Any, peer: Any, index: int) -> Made:
        if row.name in self.refusal:
            raise self.refusal[row.name]
        self.now += self._costs[row.name] * (1 + self._drift * len(self.calls))
        self.calls.append((row.name, index))
        if compiler is not None:
            compiler.counters.compiles += self.compiles.pop(row.name, 0)
            compiler.counters.hits += 1
        passes = "FrrF" if row.reuse is not None else self._passes
        made = None if row.peer is not None else report(passes)
        return Made(latents=self.latents(row, index), image=self.images(row, index), report=made)


def run_fake(
    monkeypatch: pytest.MonkeyPatch, subject: FakeSubject, rows: tuple[BenchRow, ...], **options: Any
) -> BenchResult:
    """The case of these rows, on the subject and by its own clock; CPU seconds are twice the wall's."""

    def timed(call: Callable[[], Any], _: torch.device) -> tuple[Any, Timing]:
        before = subject.now
        made = call()
        return made, Timing(wall=subject.now - before, cpu=2 * (subject.now - before))

    monkeypatch.setattr(measure, "timed", timed)
    monkeypatch.setattr(measure, "new_subject", lambda _: subject)
    return run_case(BenchCase(title="A fake", rows=rows, **{"steps": 4, "rounds": 2, **options}))
