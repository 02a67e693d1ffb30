"""The simulation of a cluster, against what can be said by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("simpy", reason="pip install simpy")

import simulate as program
from simulation.autoscaler import Autoscaler, Scaling
from simulation.check import Besides, compared, read_measured
from simulation.cluster import Cluster, Ran, simulate
from simulation.jobs import Crowd, zipf
from simulation.replica import PATIENCE_S
from simulation.report import Prices, figures, most_per_s, replicas_for, table
from simulation.router import Router
from simulation.timing import Timing, passes_of, read_timing

from skipstep.errors import OptionError

TIMING = Timing(source="by hand", full_ms={1: 100, 4: 220}, reuse_ms={1: 10, 4: 40}, begin_ms=7, end_ms=30)


def cluster(**options: Any) -> Cluster:
    return Cluster(**{"timing": TIMING, "passes": passes_of(9, interval=3), "max_rows": 4, **options})


def starts(ran: Ran) -> list[float]:
    return [job.placed_at for job in ran.jobs]


def test_one_client_waits_for_its_passes_and_what_is_besides() -> None:
    timing = Timing(
        source="by hand", full_ms={1: 100}, reuse_ms={1: 10}, begin_ms=7, end_ms=30, commit_ms=2, after_ms=4
    )
    ran = simulate(cluster(timing=timing, accept_ms=5), Crowd(jobs=3, clients=1))
    expected = (5 + 2 + 7 + 3 * 100 + 6 * 10 + 30 + 4) / 1000
    assert [job.latency_s for job in ran.jobs] == pytest.approx([expected] * 3)
    assert ran.busy_s == pytest.approx(3 * (expected - 0.009))
    assert ran.passes == ran.row_passes == 27


def test_a_row_joins_at_the_next_full_pass() -> None:
    ran = simulate(cluster(), Crowd(jobs=2, clients=2))
    first, second = (job.latency_s for job in ran.jobs)
    # the second comes at the same moment, and joins before the first pass: all are of two rows, ended together
    both = (2 * 7 + 3 * 140 + 6 * 20 + 2 * 30) / 1000
    assert (first, second) == pytest.approx((both, both))
    assert ran.row_passes == 2 * ran.passes


def test_a_short_last_group_ends_its_row_before_the_others_reuse_passes() -> None:
    ran = simulate(cluster(passes="FrrF", max_rows=2, accept_ms=60), Crowd(jobs=2, clients=2))
    # at 0.06 the first; the second at 0.12 finds it within F (0.067 to 0.167), joins at 0.187 with its first F
    first, second = (job.latency_s for job in ran.jobs)
    joined = 0.06 + 0.007 + 0.1 + 0.02 + 0.007
    assert first == pytest.approx(joined + 0.14 + 0.03)
    assert second == pytest.approx(joined + 0.14 + 0.03 + 0.02 + 0.1 + 0.03)


@pytest.mark.parametrize("scaling", [None, Scaling(least=1, most=6, target_ongoing=4, downscale_delay_s=5)])
def test_all_jobs_end_once(scaling: Scaling | None) -> None:
    crowd = Crowd(jobs=500, rate=12, mix=zipf(5, exponent=1), background=0.3, seed=3)
    ran = simulate(cluster(replicas=3, max_queue=6, accept_ms=5, start_s=3, scaling=scaling), crowd)
    assert sorted(job.number for job in ran.jobs) == list(range(500))
    assert all(job.ended_at is not None and job.ended_at >= job.came_at for job in ran.jobs)
    done = [job for job in ran.jobs if not job.is_refused]
    assert ran.row_passes == 9 * len(done)  # each was drawn once
    assert 0 < len(done) < 500  # and some were refused
    assert ran.busy_s <= ran.gpu_s


def test_keys_do_not_share_passes() -> None:
    alike = simulate(cluster(), Crowd(jobs=40, clients=4))
    mixed = simulate(cluster(), Crowd(jobs=40, clients=4, mix=[1] * 40))
    assert alike.row_passes / alike.passes > 3.5
    assert mixed.row_passes / mixed.passes < 1.5


def test_a_job_that_lost_its_patience_ends_the_joining() -> None:
    ran = simulate(cluster(max_rows=2), Crowd(jobs=200, clients=6, mix=[20, 1], seed=1))
    rare = [job.latency_s for job in ran.jobs if job.key == 1]
    assert rare
    assert max(rare) < PATIENCE_S + 3  # two runs of two rows; the common key never ends by itself


def test_classes_of_priority_go_in_order() -> None:
    ran = simulate(cluster(max_rows=1, max_ongoing=1000), Crowd(jobs=60, rate=100, background=0.5))
    ends = {priority: [job.ended_at for job in ran.jobs if job.priority == priority] for priority in (0, 1)}
    assert sum(ends[0]) / len(ends[0]) < sum(ends[1]) / len(ends[1]) / 2


def test_twice_the_gpus_at_twice_the_load_take_no_longer() -> None:
    crowd = Crowd(jobs=4000, rate=1)
    rows = table(cluster(), crowd, sizes=[8, 16, 32], load=0.5, prices=Prices(gpu_hour=2), warm_up=0.1)
    assert rows[1].pictures_per_s == pytest.approx(2 * rows[0].pictures_per_s, rel=0.05)
    assert rows[2].p95_s <= rows[1].p95_s * 1.05 <= rows[0].p95_s * 1.1
    assert rows[2].p95_s > rows[2].median_s > 0.39  # 0.397 is that of a picture alone
    assert rows[0].cost_per_1000 == pytest.approx(2 / 3600 * 8 / rows[0].pictures_per_s * 1000, rel=0.01)


def test_a_closed_crowd_reaches_what_full_batches_can_do() -> None:
    asked, crowd = cluster(), Crowd(jobs=400, clients=4)
    found = figures(asked, crowd, simulate(asked, crowd), prices=Prices())
    assert found.pictures_per_s == pytest.approx(most_per_s(asked), rel=0.01)
    assert found.utilisation == pytest.approx(1)


def test_the_fewest_replicas_for_a_target_are_enough_and_one_less_is_not() -> None:
    crowd = Crowd(jobs=600, rate=20)
    found = replicas_for(cluster(), crowd, p95_s=1.0, most=64, prices=Prices(), warm_up=0.1)
    assert found.p95_s <= 1.0
    fewer = cluster(replicas=found.replicas - 1)
    assert figures(fewer, crowd, simulate(fewer, crowd), prices=Prices(), warm_up=0.1).p95_s > 1.0
    with pytest.raises(OptionError, match="with 64 replicas, p95 is .*; the target is 0.1 s"):
        replicas_for(cluster(), crowd, p95_s=0.1, most=64, prices=Prices(), warm_up=0.1)


def test_an_ingress_that_is_too_slow_is_the_limit() -> None:
    crowd = Crowd(jobs=300, rate=40)
    one, two = (cluster(replicas=16, accept_ms=50, ingresses=count) for count in (1, 3))
    slow, quick = (figures(each, crowd, simulate(each, crowd), prices=Prices()) for each in (one, two))
    assert slow.pictures_per_s == pytest.approx(20, rel=0.05)
    assert quick.p95_s < slow.p95_s / 3
    assert slow.ingresses_needed == 3


def test_the_router_keeps_the_bound_and_equal_keys_together() -> None:
    router = Router(max_ongoing=1000)
    for replica in range(20):
        router.add(replica)
    for number in range(20):
        router.place(number)
    assert set(router.loads.values()) == {1}  # idle ones first
    places = []
    for number in range(400):
        bound, before = router.bound, dict(router.loads)
        place = router.place(number % 2)
        assert place is not None
        assert before[place] + 1 <= bound
        assert bound == -(-5 * (sum(before.values()) + 1) // 80)  # ceil(1.25 * average)
        places.append(place)
    for key in (0, 1):
        assert len(set(places[key::2][-50:])) < 20  # though the average is the same for all


def test_a_replica_that_leaves_moves_its_own_keys_alone() -> None:
    def first_choices(replicas: list[int]) -> list[int | None]:
        found = []
        for key in range(100):
            router = Router(max_ongoing=4)
            for replica in replicas:
                router.add(replica)
            found.append(router.place(key))
        return found

    before, after = first_choices([0, 1, 2, 3, 4]), first_choices([0, 1, 2, 4])
    moved = {old for old, new in zip(before, after, strict=True) if old != new}
    assert moved == {3}


def test_full_replicas_get_no_more() -> None:
    router = Router(max_ongoing=2)
    for replica in range(3):
        router.add(replica)
    assert sorted(str(router.place(0)) for _ in range(7)) == ["0", "0", "1", "1", "2", "2", "None"]
    router.release(1)
    assert router.place(5) == 1


def test_the_autoscaler_goes_up_and_down_after_its_delays() -> None:
    scaler = Autoscaler(Scaling(least=1, most=4, target_ongoing=2, upscale_delay_s=10, downscale_delay_s=20))
    asked = [(0, 6, 1), (9, 6, 1), (10, 6, 1), (11, 0, 3), (30, 0, 3), (31, 0, 3), (32, 99, 1), (42, 99, 1)]
    given = [scaler.replicas(now, ongoing=ongoing, current=current) for now, ongoing, current in asked]
    assert given == [1, 1, 3, 3, 3, 1, 1, 4]


def test_a_cluster_grows_under_load_and_shrinks_behind_it() -> None:
    scaling = Scaling(least=1, most=8, target_ongoing=4, upscale_delay_s=2, downscale_delay_s=4)
    ran = simulate(cluster(start_s=3, scaling=scaling), Crowd(jobs=600, rate=25))
    counts = [count for _, count in ran.replicas]
    assert counts[0] == 1
    assert max(counts) > 3
    assert next(at for at, count in ran.replicas if count == 2) >= 5  # the delay, and the start
    alone = simulate(cluster(), Crowd(jobs=600, rate=25))
    assert max(job.latency_s for job in ran.jobs) < max(job.latency_s for job in alone.jobs)


def test_sizes_between_and_beyond_the_given_ones_lie_on_lines() -> None:
    assert [TIMING.pass_s("F", rows) for rows in (1, 2, 4, 7)] == pytest.approx([0.1, 0.14, 0.22, 0.34])
    alone = Timing(source="by hand", full_ms={1: 100}, reuse_ms={1: 10})
    assert alone.pass_s("F", 3) == pytest.approx(0.3)  # without a figure, a batch gains nothing


def test_the_check_gives_known_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"replicas": 1, "clients": 1, "jobs": 4, "steps": 12, "step_s": 0.05, "max_rows": 4}
    path = tmp_path / "measured.json"
    path.write_text(json.dumps([{**row, "pictures_per_s": 1 / 0.75, "median_s": 0.6, "p95_s": 0.5, "note": "x"}]))
    found = compared(read_measured(path)[0], besides=Besides(), mix=[1.0])
    assert found.median_s == pytest.approx(0.6)
    assert [found.error(name) for name in ("pictures_per_s", "median_s", "p95_s")] == pytest.approx([25, 0, 20])
    program.main(["--check", str(path), "--accept-ms", "0"])
    assert "| 1 | 1 | p95_s | 0.500 | 0.600 | +20.0 % |" in capsys.readouterr().out


def test_a_table_and_its_json_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timing = tmp_path / "ms.json"
    timing.write_text(json.dumps({"source": "by hand", "full_ms": {"1": 100}, "reuse_ms": {"1": 10}}))
    assert read_timing(timing).full_ms == {1: 100.0}
    line = ["--timing", str(timing), "--sizes", "1,2", "--jobs", "100", "--json", str(tmp_path / "out.json")]
    program.main(line)
    rows = json.loads((tmp_path / "out.json").read_text())
    assert [row["replicas"] for row in rows] == [1, 2]
    assert f"| {rows[1]['p95_s']:.2f} |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--rate 1", "give --timing FILE"),
        ("--full-ms 1=100 --rate 1", "--source"),
        ("--full-ms 2=100 --source x --rate 1", "needs the milliseconds of 1 row"),
        ("--full-ms fast --source x --rate 1", "such as 1=128,4=480; got 'fast'"),
        ("--full-ms 1=100 --source x --rate 1 --interval 3", "needs --reuse-ms"),
        ("--full-ms 1=100 --source x --rate 1 --reuse-ms 1=1 --schedule rF", "begins with F .* got 'rF'"),
        ("--full-ms 1=100 --source x", "either a rate of jobs or a number of clients"),
        ("--full-ms 1=100 --source x --rate -1", "rate must be above 0, got -1"),
        ("--full-ms 1=100 --source x --rate 1 --replicas 0", "replicas must be 1 or more, got 0"),
        ("--full-ms 1=100 --source x --rate 1 --autoscale 3,1", "1 <= least <= most, got 3 and 1"),
        ("--full-ms 1=100 --source x --rate 1 --factor 0.5", "factor must be 1 or more, got 0.5"),
        ("--full-ms 1=100 --source x --sizes a,b", "got 'a,b'"),
        ("--full-ms 1=100 --source x --sizes 1 --load 0", "load must be above 0"),
        ("--timing nowhere.json --rate 1", "nowhere.json cannot be read"),
        ("--check nowhere.json", "nowhere.json cannot be read"),
    ],
)
def test_bad_options_are_refused(line: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        program.main(line.split())
