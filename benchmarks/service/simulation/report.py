"""What a run says: figures, tables, and how many replicas a target takes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from skipstep.errors import OptionError

from .cluster import Cluster, Ran, simulate
from .jobs import Crowd

INGRESS_SHARE = 0.7  # of its time an ingress may accept, so that jobs hardly queue for it


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What is paid, and what the database is asked for: `writes_a_job` and, for each replica, so many a second."""

    gpu_hour: float = 0.0
    writes_a_job: float = 3.0  # accepted, begun, ended
    writes_a_replica_s: float = 4.5  # events, and the heartbeat


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One row of a table; seconds are those of jobs that were not refused."""

    replicas: int
    rate: float | None
    jobs: int
    refused: int
    pictures_per_s: float
    median_s: float
    p95_s: float
    p99_s: float
    utilisation: float
    mean_rows: float
    cost_per_1000: float
    ingresses_needed: int
    database_writes_per_s: float


def figures(cluster: Cluster, crowd: Crowd, ran: Ran, *, prices: Prices, warm_up: float = 0.0) -> Figures:
    """Of a run; seconds leave out the first `warm_up` (a share) of the jobs, which found the replicas empty.

    Raises:
        OptionError: if `warm_up` leaves no job, or all were refused.
    """
    if not 0 <= warm_up < 1:
        raise OptionError(f"warm-up must be at least 0 and below 1, got {warm_up}")
    done = [job for job in ran.jobs if not job.is_refused]
    if not done:
        raise OptionError("all jobs were refused; raise max_queue or the number of replicas")
    seconds = sorted(job.latency_s for job in done[int(warm_up * len(done)) :])
    lasted = max(job.ended_at or 0.0 for job in done) - min(job.came_at for job in ran.jobs)
    per_s = len(done) / lasted
    replicas = cluster.replicas if cluster.scaling is None else max(count for _, count in ran.replicas)
    accepted_per_s = per_s if crowd.rate is None else crowd.rate
    return Figures(
        replicas=replicas,
        rate=crowd.rate,
        jobs=len(ran.jobs),
        refused=len(ran.jobs) - len(done),
        pictures_per_s=per_s,
        median_s=statistics.median(seconds),
        p95_s=_percentile(seconds, 0.95),
        p99_s=_percentile(seconds, 0.99),
        utilisation=ran.busy_s / ran.gpu_s,
        mean_rows=ran.row_passes / ran.passes,
        cost_per_1000=ran.gpu_s / 3600 * prices.gpu_hour / len(done) * 1000,
        ingresses_needed=max(1, math.ceil(accepted_per_s * cluster.accept_ms / 1000 / INGRESS_SHARE)),
        database_writes_per_s=accepted_per_s * prices.writes_a_job + replicas * prices.writes_a_replica_s,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that so large a share of them does not exceed."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def most_per_s(cluster: Cluster) -> float:
    """Pictures a second of one replica whose batches are always full and begin together."""
    rows = cluster.max_rows
    return rows / cluster.timing.run_s(cluster.passes, rows)


def table(
    cluster: Cluster, crowd: Crowd, *, sizes: Sequence[int], load: float, prices: Prices, warm_up: float
) -> list[Figures]:
    """Clusters of these sizes, each with the ingresses that it needs, at this share of what its GPUs can do."""
    if not 0 < load < math.inf:
        raise OptionError(f"load must be above 0, got {load}; 1 is all that the GPUs can do")
    rows = []
    for size in sizes:
        rate = load * size * most_per_s(cluster)
        needed = max(1, math.ceil(rate * cluster.accept_ms / 1000 / INGRESS_SHARE))
        larger = replace(cluster, replicas=size, ingresses=needed)
        asked = replace(crowd, rate=rate, clients=None, jobs=max(crowd.jobs, 100 * size))
        rows.append(figures(larger, asked, simulate(larger, asked), prices=prices, warm_up=warm_up))
    return rows


def replicas_for(cluster: Cluster, crowd: Crowd, *, p95_s: float, most: int, prices: Prices, warm_up: float) -> Figures:
    """The fewest replicas with which 95 % of the pictures are there in time, and none is refused.

    Raises:
        OptionError: if not even `most` do.
    """

    def tried(replicas: int) -> Figures:
        one = replace(cluster, replicas=replicas)
        return figures(one, crowd, simulate(one, crowd), prices=prices, warm_up=warm_up)

    def is_enough(found: Figures) -> bool:
        return found.p95_s <= p95_s and not found.refused

    fewest, enough = 0, 1
    best = tried(enough)
    while not is_enough(best):
        if enough >= most:
            raise OptionError(
                f"with {most} replicas, p95 is {best.p95_s:.2f} s and {best.refused} are refused; "
                f"the target is {p95_s} s. Raise the target, the replicas or the ingresses"
            )
        fewest, enough = enough, min(2 * enough, most)
        best = tried(enough)
    while enough - fewest > 1:
        middle = (fewest + enough) // 2
        found = tried(middle)
        if is_enough(found):
            enough, best = middle, found
        else:
            fewest = middle
    return best


_HEAD = "GPUs, jobs/s, pictures/s, median s, p95 s, p99 s, busy, rows, refused, per 1000, ingresses, DB writes/s"


def as_markdown(rows: Sequence[Figures]) -> str:
    """A table of them."""
    head = _HEAD.split(", ")
    lines = [head, ["---"] * len(head), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(one: Figures) -> list[str]:
    return [
        f"{one.replicas:,}",
        "" if one.rate is None else f"{one.rate:.2f}",
        f"{one.pictures_per_s:.2f}",
        *(f"{seconds:.2f}" for seconds in (one.median_s, one.p95_s, one.p99_s)),
        f"{one.utilisation:.0%}",
        f"{one.mean_rows:.2f}",
        f"{one.refused:,}",
        f"{one.cost_per_1000:.2f}",
        f"{one.ingresses_needed}",
        f"{one.database_writes_per_s:,.0f}",
    ]


def as_json(rows: Sequence[Figures]) -> list[dict[str, object]]:
    """The same with all digits."""
    return [asdict(one) for one in rows]
