"""The report: its figures from known times, and its clock on either device."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from skipstep import RunReport
from skipstep.deepcache import PassFlops, report
from skipstep.deepcache.report import FULL, REUSE, PassLog

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
REPORT = RunReport(
    passes="FrrF",
    full_s=(3.0, 5.0),
    reuse_s=(1.0, 1.0),
    loop_s=14.0,  # 10 in passes, 4 in the sampler
    cache_bytes=64,
    host_bytes=8,
    flops=PassFlops(full=100, reuse=10),
)
EMPTY = RunReport(passes="", full_s=(), reuse_s=(), loop_s=0.0, cache_bytes=0, flops=PassFlops(full=100, reuse=10))


def test_the_figures_follow_from_the_times() -> None:
    assert (REPORT.full_passes, REPORT.reuse_passes, REPORT.evaluations) == (2, 2, 4)
    assert REPORT.flop_ceiling == 400 / 220
    assert REPORT.expected_speedup == 16 / (8 + 2)  # medians 4 and 1
    assert REPORT.measured_speedup == (4 + 16) / 14


def test_without_reuse_nothing_is_gained() -> None:
    plain = RunReport(passes="FF", full_s=(3.0, 5.0), reuse_s=(), loop_s=9.0, cache_bytes=64, flops=None)
    assert plain.expected_speedup == 1
    assert plain.measured_speedup == 1
    assert plain.flop_ceiling is None  # not counted


def test_before_any_pass_there_are_no_speedups() -> None:
    assert EMPTY.evaluations == 0
    assert EMPTY.flop_ceiling is EMPTY.expected_speedup is EMPTY.measured_speedup is None


def test_as_a_dictionary_it_is_json_with_all_figures() -> None:
    figures = json.loads(json.dumps(REPORT.as_dict()))
    assert figures == {
        "passes": "FrrF",
        "full_s": [3.0, 5.0],
        "reuse_s": [1.0, 1.0],
        "loop_s": 14.0,
        "cache_bytes": 64,
        "host_bytes": 8,
        "flops": {"full": 100, "reuse": 10},
        "full_passes": 2,
        "reuse_passes": 2,
        "flop_ceiling": REPORT.flop_ceiling,
        "expected_speedup": REPORT.expected_speedup,
        "measured_speedup": REPORT.measured_speedup,
    }
    assert json.loads(json.dumps(EMPTY.as_dict()))["measured_speedup"] is None


def test_a_log_on_the_cpu_times_its_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 13.0, 14.0, 15.0])
    monkeypatch.setattr(report.time, "perf_counter", lambda: next(ticks))
    log = PassLog()
    assert log.report(None).loop_s == 0
    with log.timed(FULL, CPU):
        pass
    with log.timed(REUSE, CPU):
        pass
    log.hold(device=7, host=2)
    log.hold(device=5, host=3)
    made = log.report(PassFlops(full=2, reuse=1))
    assert (made.full_s, made.reuse_s, made.loop_s) == ((3.0,), (1.0,), 5.0)
    assert (made.passes, made.cache_bytes, made.host_bytes) == ("Fr", 7, 3)  # the most of each
    assert made.flops == PassFlops(full=2, reuse=1)


def test_a_pass_that_fails_is_not_logged() -> None:
    log = PassLog()
    with pytest.raises(KeyError), log.timed(FULL, CPU):
        raise KeyError
    assert len(log) == 0


class Event:
    """A CUDA event on a clock of whole milliseconds."""

    clock = 0
    synchronised = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        self.stream: Any = None

    def record(self, stream: Any) -> None:
        Event.clock += 250
        self.stream, self.at = stream, Event.clock

    def synchronize(self) -> None:
        Event.synchronised += 1

    def elapsed_time(self, end: Event) -> float:
        return float(end.at - self.at)


def test_a_log_on_cuda_records_events_and_waits_only_for_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: ("stream of", device))
    log = PassLog()
    for kind in (FULL, REUSE, REUSE):
        with log.timed(kind, CUDA):
            pass
    assert Event.synchronised == 0
    assert {event.stream for _, *events in log._passes for event in events} == {("stream of", CUDA)}
    made = log.report(None)
    assert Event.synchronised > 0
    assert (made.full_s, made.reuse_s, made.loop_s) == ((0.25,), (0.25, 0.25), 1.25)
