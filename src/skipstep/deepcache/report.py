"""What a run did: its passes, their times, and what that gained."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

FULL, REUSE = "F", "r"


def _now(device: torch.device) -> Any:
    """A point in time on the device's own clock: an event on CUDA (no host sync), else seconds."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _seconds_between(start: Any, end: Any) -> float:
    if isinstance(start, float):
        return float(end - start)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


class PassLog:
    """Kinds and times of a run's passes, in order; recording never waits for the device."""

    def __init__(self) -> None:
        self.cache_bytes = self.host_bytes = 0
        self._passes: list[tuple[str, Any, Any]] = []

    @contextmanager
    def timed(self, kind: str, device: torch.device) -> Iterator[None]:
        """Record what runs inside as one pass of `kind`."""
        start = _now(device)
        yield
        self._passes.append((kind, start, _now(device)))

    def hold(self, *, device: int, host: int) -> None:
        """Note the bytes of deep features held now; the most of each is reported."""
        self.cache_bytes = max(self.cache_bytes, device)
        self.host_bytes = max(self.host_bytes, host)

    @property
    def kinds(self) -> str:
        """One letter per pass, in order: F for full, r for reuse."""
        return "".join(kind for kind, _, _ in self._passes)

    def __len__(self) -> int:
        return len(self._passes)

    @property
    def latest(self) -> str:
        """The kind of the latest pass."""
        return self._passes[-1][0]

    def report(self, flops: PassFlops | None) -> RunReport:
        """The run so far; waits for the device."""
        times = [(kind, _seconds_between(start, end)) for kind, start, end in self._passes]
        return RunReport(
            passes=self.kinds,
            full_s=tuple(s for kind, s in times if kind == FULL),
            reuse_s=tuple(s for kind, s in times if kind == REUSE),
            loop_s=_seconds_between(self._passes[0][1], self._passes[-1][2]) if self._passes else 0.0,
            cache_bytes=self.cache_bytes,
            host_bytes=self.host_bytes,
            flops=flops,
        )


@dataclass(frozen=True, kw_only=True)
class PassFlops:
    """Floating point operations of one full and one reuse pass, attention included."""

    full: int
    reuse: int


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """One sampling run. Times are seconds; speed-ups are uncached time over cached time."""

    passes: str  # one letter per evaluation: F full, r reuse
    full_s: tuple[float, ...]
    reuse_s: tuple[float, ...]
    loop_s: float  # from the start of the first evaluation to the end of the last, sampler included
    cache_bytes: int  # most deep features held at once from one pass to the next, on the UNet's device
    flops: PassFlops | None  # None where they could not be counted
    host_bytes: int = 0  # most deep features held at once in host memory beside those

    @property
    def full_passes(self) -> int:
        """Number of full passes."""
        return len(self.full_s)

    @property
    def reuse_passes(self) -> int:
        """Number of reuse passes."""
        return len(self.reuse_s)

    @property
    def evaluations(self) -> int:
        """Number of UNet evaluations."""
        return self.full_passes + self.reuse_passes

    @property
    def flop_ceiling(self) -> float | None:
        """The most that these passes can gain, by FLOPs; None where they could not be counted."""
        if self.flops is None or not self.evaluations:
            return None
        spent = self.full_passes * self.flops.full + self.reuse_passes * self.flops.reuse
        return self.evaluations * self.flops.full / spent

    @property
    def expected_speedup(self) -> float | None:
        """What the median times of the two passes promise for the UNet alone; None before any pass."""
        if not self.full_s:
            return None
        full = median(self.full_s)
        reuse = median(self.reuse_s) if self.reuse_s else 0.0
        return self.evaluations * full / (self.full_passes * full + self.reuse_passes * reuse)

    @property
    def measured_speedup(self) -> float | None:
        """Of the whole sampling loop as it ran, against the same loop with every pass at the median full time."""
        if not self.full_s:
            return None
        passes = sum(self.full_s) + sum(self.reuse_s)
        return (self.loop_s - passes + self.evaluations * median(self.full_s)) / self.loop_s

    def as_dict(self) -> dict[str, Any]:
        """All figures, plain enough for JSON."""
        figures = {
            "full_passes": self.full_passes,
            "reuse_passes": self.reuse_passes,
            "flop_ceiling": self.flop_ceiling,
            "expected_speedup": self.expected_speedup,
            "measured_speedup": self.measured_speedup,
        }
        return {**asdict(self), **figures}
