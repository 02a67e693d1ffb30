"""How many GPUs a load takes, what a picture costs and how long it takes: a cluster, simulated.

    python benchmarks/service/simulate.py --full-ms 1=128 --reuse-ms 1=21 --source "who measured it" \
        --steps 30 --interval 3 --gpu-hour 2 --sizes 1,4,16,64,256,1000
    python benchmarks/service/simulate.py --timing ms.json --rate 5 --target-p95-s 10
    python benchmarks/service/simulate.py --measure measured.json
    python benchmarks/service/simulate.py --check measured.json

Without --sizes or --target-p95-s, one cluster is run: with --replicas, or with those of the autoscaler.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from simulation.autoscaler import Scaling
from simulation.check import Besides, compared, comparison_as_markdown, read_measured
from simulation.cluster import Cluster, simulate
from simulation.jobs import Crowd, zipf
from simulation.measure import measure
from simulation.plot import plot
from simulation.report import Figures, Prices, as_json, as_markdown, figures, replicas_for, table
from simulation.timing import Timing, passes_of, read_timing

from skipstep.errors import MissingExtraError, OptionError


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    passes = parser.add_argument_group("passes")
    passes.add_argument("--timing", type=Path, help="JSON with source, full_ms and reuse_ms by rows, begin_ms ...")
    passes.add_argument("--full-ms", help="in place of --timing: milliseconds by rows, as 1=128,4=480")
    passes.add_argument("--reuse-ms", help="the same of a reuse pass; without, there are full passes only")
    passes.add_argument("--source", default="", help="where these figures come from; it is printed with the results")
    for name, text in (
        ("begin", "of the GPU for each row before its passes (text encoders)"),
        ("end", "of the GPU for each row behind its passes (VAE)"),
        ("commit", "of the worker when rows join (the store)"),
        ("after", "of a job behind the GPU (files, the answer)"),
    ):
        passes.add_argument(f"--{name}-ms", type=float, default=0.0, help=f"milliseconds {text}")
    passes.add_argument("--steps", type=int, default=30)
    passes.add_argument("--interval", type=int, default=1, help="a full pass every so many")
    passes.add_argument("--schedule", default="", help="in place of --interval, as FrrFrr; repeated")
    crowd = parser.add_argument_group("jobs")
    crowd.add_argument("--jobs", type=int, default=2000)
    crowd.add_argument("--rate", type=float, help="jobs a second, at random moments")
    crowd.add_argument("--clients", type=int, help="in place of --rate: clients that wait for each answer")
    crowd.add_argument("--keys", type=int, default=1, help="models, sizes, LoRAs ... that cannot share a batch")
    crowd.add_argument("--zipf", type=float, default=1.0, help="how unequal their shares are; 0 for equal")
    crowd.add_argument("--mix", help="in place of both: their shares, as 5,3,1")
    crowd.add_argument("--background", type=float, default=0.0, help="share of jobs of the next lower priority")
    crowd.add_argument("--seed", type=int, default=0)
    crowd.add_argument("--warm-up", type=float, default=0.1, help="share of the jobs whose seconds do not count")
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument("--replicas", type=int, default=1)
    cluster.add_argument("--max-rows", type=int, default=8)
    cluster.add_argument("--max-ongoing", type=int, help="jobs of a replica; twice the rows")
    cluster.add_argument("--factor", type=float, default=1.25, help="of the average load that a replica may have")
    cluster.add_argument("--max-queue", type=int, help="jobs that wait for a replica; without, none is refused")
    cluster.add_argument("--ingresses", type=int, default=1)
    cluster.add_argument("--accept-ms", type=float, default=5.0, help="of an ingress for each job")
    cluster.add_argument("--start-s", type=float, default=60.0, help="of a replica that the autoscaler starts")
    cluster.add_argument("--autoscale", help="least and most replicas, as 1,16")
    cluster.add_argument("--target-ongoing", type=float, default=1.0, help="jobs of a replica")
    cluster.add_argument("--upscale-delay-s", type=float, default=10.0)
    cluster.add_argument("--downscale-delay-s", type=float, default=300.0)
    asked = parser.add_argument_group("what is asked")
    asked.add_argument("--sizes", help="a table of clusters, as 1,4,16, at --load")
    asked.add_argument("--load", type=float, default=0.7, help="share of what full batches could do")
    asked.add_argument("--target-p95-s", type=float, help="the fewest replicas for it, at --rate")
    asked.add_argument("--most", type=int, default=1000, help="replicas that are tried for it")
    asked.add_argument("--gpu-hour", type=float, default=0.0, help="price, in any currency")
    asked.add_argument("--plot", type=Path, help="PNG of seconds against load, for --sizes")
    asked.add_argument("--json", type=Path, help="the figures with all digits")
    asked.add_argument("--check", type=Path, help="compare with measurements of the sleeping engine")
    asked.add_argument("--measure", type=Path, help="measure 1, 2 and 4 services in this process, for --check")
    return parser


def numbers(text: str, name: str) -> list[float]:
    """Of a list with commas.

    Raises:
        OptionError: if one is none.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"{name} is numbers with commas, such as 1,4,16; got {text!r}") from error


def by_rows(text: str, name: str) -> dict[int, float]:
    """Milliseconds of `1=128,4=480`.

    Raises:
        OptionError: if it is not of that form.
    """
    try:
        return {int(rows): float(ms) for rows, ms in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise OptionError(f"{name} is milliseconds by rows, such as 1=128,4=480; got {text!r}") from error


def timing_of(given: argparse.Namespace) -> Timing:
    if given.timing is not None:
        return read_timing(given.timing)
    if given.full_ms is None or not given.source:
        raise OptionError("give --timing FILE, or --full-ms with --source, which says where the figures come from")
    full = by_rows(given.full_ms, "--full-ms")
    cached = given.interval > 1 or "r" in given.schedule
    if cached and given.reuse_ms is None:
        raise OptionError("a schedule with reuse passes needs --reuse-ms; see docs/bench.md for measuring them")
    return Timing(
        source=given.source,
        full_ms=full,
        reuse_ms=by_rows(given.reuse_ms, "--reuse-ms") if given.reuse_ms else full,
        begin_ms=given.begin_ms,
        end_ms=given.end_ms,
        commit_ms=given.commit_ms,
        after_ms=given.after_ms,
    )


def mix_of(given: argparse.Namespace) -> list[float]:
    return numbers(given.mix, "--mix") if given.mix else zipf(given.keys, exponent=given.zipf)


def cluster_of(given: argparse.Namespace) -> Cluster:
    scaling = None
    if given.autoscale:
        least_most = numbers(given.autoscale, "--autoscale")
        if len(least_most) != 2:
            raise OptionError(f"--autoscale is the least and the most replicas, as 1,16; got {given.autoscale!r}")
        scaling = Scaling(
            least=int(least_most[0]),
            most=int(least_most[1]),
            target_ongoing=given.target_ongoing,
            upscale_delay_s=given.upscale_delay_s,
            downscale_delay_s=given.downscale_delay_s,
        )
    return Cluster(
        timing=timing_of(given),
        passes=passes_of(given.steps, interval=given.interval, schedule=given.schedule),
        replicas=given.replicas,
        max_rows=given.max_rows,
        max_ongoing=given.max_ongoing,
        factor=given.factor,
        max_queue=given.max_queue,
        ingresses=given.ingresses,
        accept_ms=given.accept_ms,
        start_s=given.start_s,
        scaling=scaling,
    )


def crowd_of(given: argparse.Namespace) -> Crowd:
    rate = 1.0 if given.sizes and given.rate is None and given.clients is None else given.rate  # the table has its own
    return Crowd(
        jobs=given.jobs,
        mix=mix_of(given),
        background=given.background,
        rate=rate,
        clients=given.clients,
        seed=given.seed,
    )


def asked_for(given: argparse.Namespace) -> list[Figures]:
    cluster, crowd, prices = cluster_of(given), crowd_of(given), Prices(gpu_hour=given.gpu_hour)
    if given.target_p95_s is not None:
        return [
            replicas_for(
                cluster, crowd, p95_s=given.target_p95_s, most=given.most, prices=prices, warm_up=given.warm_up
            )
        ]
    if not given.sizes:
        return [figures(cluster, crowd, simulate(cluster, crowd), prices=prices, warm_up=given.warm_up)]
    sizes = [int(size) for size in numbers(given.sizes, "--sizes")]
    if given.plot is not None:
        loads = [share / 10 for share in range(1, 11)]
        by_load = {
            load: table(cluster, crowd, sizes=sizes, load=load, prices=prices, warm_up=given.warm_up) for load in loads
        }
        curves = {size: [(load, rows[place]) for load, rows in by_load.items()] for place, size in enumerate(sizes)}
        plot(given.plot, curves, source=cluster.timing.source)
    return table(cluster, crowd, sizes=sizes, load=given.load, prices=prices, warm_up=given.warm_up)


def measure_all(given: argparse.Namespace) -> None:
    """One client, and six for each of 1, 2 and 4 services."""
    rows = []
    for replicas, clients, jobs in ((1, 1, 10), (1, 6, 120), (2, 12, 240), (4, 24, 480)):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                measure(
                    Path(folder) / "services",
                    replicas=replicas,
                    clients=clients,
                    jobs=jobs,
                    steps=12,
                    step_s=0.05,
                    max_rows=4,
                    mix=mix_of(given),
                )
            )
    given.measure.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def check(given: argparse.Namespace) -> None:
    besides = Besides(accept_ms=given.accept_ms, commit_ms=given.commit_ms, after_ms=given.after_ms)
    rows = [compared(row, besides=besides, mix=mix_of(given)) for row in read_measured(given.check)]
    print(comparison_as_markdown(rows))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def main(line: Sequence[str] | None = None) -> None:
    given = options().parse_args(line)
    try:
        if given.measure is not None:
            measure_all(given)
        elif given.check is not None:
            check(given)
        else:
            rows = asked_for(given)
            print(f"Simulated; ms of a pass: {timing_of(given).source}\n")
            print(as_markdown(rows))
            if given.json is not None:
                given.json.write_text(json.dumps(as_json(rows), indent=1) + "\n")
    except (OptionError, MissingExtraError) as error:
        sys.exit(f"simulate: {error}")


if __name__ == "__main__":
    main()
