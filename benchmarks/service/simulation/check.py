"""The simulation beside measurements with an engine that sleeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from skipstep.errors import OptionError

from .cluster import Cluster, simulate
from .jobs import Crowd
from .report import Prices, figures
from .timing import Timing, passes_of

DUMMY_INTERVAL = 3  # `DummyRows`: every third evaluation is a full pass


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One row of what `ray_scale.py --json` and `simulate.py --measure` write."""

    replicas: int
    clients: int
    jobs: int
    steps: int
    step_s: float
    max_rows: int
    pictures_per_s: float
    median_s: float
    p95_s: float


@dataclass(frozen=True, kw_only=True)
class Besides:
    """Milliseconds that a job costs beside its passes; see `Timing` and `Cluster`."""

    accept_ms: float = 0.0
    commit_ms: float = 0.0
    after_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Errors are the simulated value's, in percent of the measured."""

    measured: Measured
    pictures_per_s: float
    median_s: float
    p95_s: float

    def error(self, name: str) -> float:
        """Of one of the three figures."""
        measured = float(getattr(self.measured, name))
        return (float(getattr(self, name)) / measured - 1) * 100


def read_measured(path: Path) -> list[Measured]:
    """The rows of a file; fields that are not ours are left alone.

    Raises:
        OptionError: if it is not such a file.
    """
    names = [field.name for field in fields(Measured)]
    try:
        given: Any = json.loads(path.read_text())
        rows = [Measured(**{name: row[name] for name in names}) for row in given]
        if not rows or any(not getattr(row, name) > 0 for row in rows for name in names):
            raise ValueError("no rows, or a figure that is not above 0")
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise OptionError(f"{path} has no measurements ({error}); it is a JSON list with {', '.join(names)}") from error
    return rows


def compared(measured: Measured, *, besides: Besides, mix: Sequence[float]) -> Compared:
    """Simulate what was measured."""
    step_ms = measured.step_s * 1000
    each = {1: step_ms, measured.max_rows: step_ms}  # it sleeps as long for all rows as for one
    cluster = Cluster(
        timing=Timing(
            source="the dummy engine's step_s",
            full_ms=each,
            reuse_ms=each,
            commit_ms=besides.commit_ms,
            after_ms=besides.after_ms,
        ),
        passes=passes_of(measured.steps, interval=DUMMY_INTERVAL),
        replicas=measured.replicas,
        max_rows=measured.max_rows,
        accept_ms=besides.accept_ms,
    )
    crowd = Crowd(jobs=measured.jobs, clients=measured.clients, mix=mix)
    found = figures(cluster, crowd, simulate(cluster, crowd), prices=Prices())
    return Compared(measured=measured, pictures_per_s=found.pictures_per_s, median_s=found.median_s, p95_s=found.p95_s)


def comparison_as_markdown(rows: Sequence[Compared]) -> str:
    """Measured, simulated and the error, of each."""
    head = ["| replicas | clients | | measured | simulated | error |", "|---|---|---|---|---|---|"]
    lines = [
        f"| {row.measured.replicas} | {row.measured.clients} | {name} | {getattr(row.measured, name):.3f} "
        f"| {getattr(row, name):.3f} | {row.error(name):+.1f} % |"
        for row in rows
        for name in ("pictures_per_s", "median_s", "p95_s")
    ]
    return "\n".join(head + lines)
