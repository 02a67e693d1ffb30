"""Many clients at once; `benchmarks/service/load.py` has more of them."""

from __future__ import annotations

import asyncio

import load
from conftest import Serve


def test_all_jobs_of_a_crowd_end_and_all_events_arrive(serve: Serve) -> None:
    with serve(dummy_step_s=0.002, max_queue=16) as client:
        crowd = asyncio.run(load.come_all(str(client.base_url), clients=40, jobs=80))
    assert crowd.succeeded == crowd.jobs == 80
    assert crowd.events == 80 * (20 + 4)  # queued, running, passes, the output, succeeded
    assert crowd.gaps == 0
    assert crowd.refused > 0
    assert crowd.refused_without_a_time == 0
    assert not crowd.other_answers


def test_progress_comes_at_once_to_one_client(serve: Serve) -> None:
    with serve(dummy_step_s=0.02) as client:
        late = asyncio.run(load.lateness(str(client.base_url), steps=60))
    assert late.events == 55
    assert late.p50_ms < 25  # 1 ms where nothing else runs
