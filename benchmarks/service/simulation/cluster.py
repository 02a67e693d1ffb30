"""Ingress, router, replicas and autoscaler together."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import simpy

from skipstep.errors import OptionError

from .autoscaler import Autoscaler, Scaling
from .jobs import Crowd, Job
from .replica import Replica
from .router import Router
from .timing import Timing

RETRY_S = 1.0  # of a client that was refused


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What is simulated. `replicas` are there from the start, unless `scaling` says how many there are.

    `accept_ms` holds one of the `ingresses` for each job. `max_queue` jobs wait for a replica, more are refused.
    """

    timing: Timing
    passes: str
    replicas: int = 1
    max_rows: int = 8
    max_ongoing: int | None = None
    factor: float = 1.25
    max_queue: int | None = None
    ingresses: int = 1
    accept_ms: float = 0.0
    start_s: float = 0.0
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        for name in ("replicas", "max_rows", "ingresses"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("accept_ms", "start_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise OptionError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.max_queue is not None and self.max_queue < 0:
            raise OptionError(f"max_queue must be 0 or more, got {self.max_queue}")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """All jobs, and what the replicas did. `replicas` are those there were at times, for an autoscaler's."""

    jobs: list[Job]
    gpu_s: float
    busy_s: float
    passes: int
    row_passes: int
    accepting_s: float
    replicas: list[tuple[float, int]]


class _Run:
    def __init__(self, cluster: Cluster, crowd: Crowd) -> None:
        self.env = simpy.Environment()
        self.cluster, self.crowd = cluster, crowd
        most = 2 * cluster.max_rows if cluster.max_ongoing is None else cluster.max_ongoing
        self.router = Router(max_ongoing=most, factor=cluster.factor)
        self.ingress = simpy.Resource(self.env, capacity=cluster.ingresses)
        self.replicas: dict[int, Replica] = {}
        self.starting = 0
        self.all_replicas: list[Replica] = []
        self.spans: dict[int, list[float]] = {}
        self.waiting: deque[Job] = deque()
        self.ongoing = self.ended = 0
        self.jobs: list[Job] = []
        self.answers: dict[int, simpy.Event] = {}
        self.history: list[tuple[float, int]] = []
        self.is_over = self.env.event()

    def run(self) -> Ran:
        scaling = self.cluster.scaling
        for _ in range(self.cluster.replicas if scaling is None else scaling.least):
            self.ready(self.new_replica())
        if scaling is not None:
            self.env.process(self.scale(scaling))
        every = self.crowd.all_jobs()
        if self.crowd.clients is None:
            self.env.process(self.arrive(every))
        else:
            for _ in range(self.crowd.clients):
                self.env.process(self.visit(every))
        self.env.run(until=self.is_over)
        end = self.env.now
        return Ran(
            jobs=self.jobs,
            gpu_s=sum(last - first for first, last in self._lives(end)),
            busy_s=sum(one.busy_s for one in self.all_replicas),
            passes=sum(one.passes for one in self.all_replicas),
            row_passes=sum(one.row_passes for one in self.all_replicas),
            accepting_s=len(self.jobs) * self.cluster.accept_ms / 1000,
            replicas=self.history,
        )

    def _lives(self, end: float) -> list[tuple[float, float]]:
        return [(span[0], span[1] if len(span) > 1 else end) for span in self.spans.values()]

    def new_replica(self) -> Replica:
        number = len(self.all_replicas)
        replica = Replica(
            self.env,
            number,
            timing=self.cluster.timing,
            passes=self.cluster.passes,
            max_rows=self.cluster.max_rows,
            on_end=self.left_gpu,
        )
        self.all_replicas.append(replica)
        self.spans[number] = [self.env.now]
        return replica

    def ready(self, replica: Replica) -> None:
        self.replicas[replica.number] = replica
        self.router.add(replica.number)
        self.history.append((self.env.now, len(self.replicas)))
        self.env.process(self.live(replica))
        self.hand_out()

    def live(self, replica: Replica) -> Generator[simpy.Event, Any, None]:
        yield self.env.process(replica.work())
        self.spans[replica.number].append(self.env.now)

    def arrive(self, every: Iterator[Job]) -> Generator[simpy.Event, Any, None]:
        for job in every:
            yield self.env.timeout(job.came_at - self.env.now)
            self.env.process(self.accept(job))

    def visit(self, every: Iterator[Job]) -> Generator[simpy.Event, Any, None]:
        for job in every:
            job.came_at = self.env.now
            self.answers[job.number] = self.env.event()
            self.env.process(self.accept(job))
            yield self.answers[job.number]
            del self.answers[job.number]
            if job.is_refused:
                yield self.env.timeout(RETRY_S)

    def accept(self, job: Job) -> Generator[simpy.Event, Any, None]:
        self.jobs.append(job)
        if self.cluster.accept_ms:
            with self.ingress.request() as turn:
                yield turn
                yield self.env.timeout(self.cluster.accept_ms / 1000)
        most = self.cluster.max_queue
        self.hand_out()
        self.ongoing += 1
        if not self.waiting and self.hand(job):
            return
        if most is not None and len(self.waiting) >= most:
            job.is_refused = True
            self.ongoing -= 1
            self.end(job)
        else:
            self.waiting.append(job)

    def hand(self, job: Job) -> bool:
        number = self.router.place(job.key)
        if number is not None:
            self.replicas[number].put(job)
        return number is not None

    def hand_out(self) -> None:
        while self.waiting and self.hand(self.waiting[0]):
            self.waiting.popleft()

    def left_gpu(self, job: Job, number: int) -> None:
        self.env.process(self.answer(job, number))

    def answer(self, job: Job, number: int) -> Generator[simpy.Event, Any, None]:
        yield self.env.timeout(self.cluster.timing.after_ms / 1000)
        self.router.release(number)
        self.ongoing -= 1
        self.end(job)
        self.hand_out()

    def end(self, job: Job) -> None:
        assert job.ended_at is None
        job.ended_at = self.env.now
        self.ended += 1
        if job.number in self.answers:
            self.answers[job.number].succeed()
        if self.ended == self.crowd.jobs:
            self.is_over.succeed()

    def scale(self, scaling: Scaling) -> Generator[simpy.Event, Any, None]:
        scaler = Autoscaler(scaling)
        while True:
            yield self.env.timeout(scaling.look_s)
            current = len(self.replicas) + self.starting
            wanted = scaler.replicas(self.env.now, ongoing=self.ongoing, current=current)
            for _ in range(wanted - current):
                self.starting += 1
                self.env.process(self.start())
            # those with the least to do go; what still starts stays
            for _ in range(min(current - wanted, len(self.replicas) - 1)):
                number = min(self.replicas, key=self.router.loads.__getitem__)
                self.router.remove(number)
                self.replicas.pop(number).leave()
                self.history.append((self.env.now, len(self.replicas)))

    def start(self) -> Generator[simpy.Event, Any, None]:
        replica = self.new_replica()
        yield self.env.timeout(self.cluster.start_s)
        self.starting -= 1
        self.ready(replica)


def simulate(cluster: Cluster, crowd: Crowd) -> Ran:
    """Run until the last job has its answer."""
    return _Run(cluster, crowd).run()
