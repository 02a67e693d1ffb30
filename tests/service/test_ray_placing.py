"""Consistent hashing with bounded loads, as the paper has it."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from simulation.router import Router
from skipstep_service.ray_serve.placing import bound, order, places

REPLICAS = [f"replica{number}" for number in range(8)]


def test_an_idle_cluster_has_equal_keys_at_one_replica() -> None:
    idle = dict.fromkeys(REPLICAS, 0)
    homes = {key: places(key, idle)[0] for key in map(str, range(200))}
    assert all(places(key, idle)[0] == home for key, home in homes.items())
    assert set(homes.values()) == set(REPLICAS)  # and different ones at all


@pytest.mark.parametrize("factor", [1.0, 1.25, 2.0])
def test_no_replica_is_above_the_bound(factor: float) -> None:
    loads, chance = dict.fromkeys(REPLICAS, 0), random.Random(0)
    for _ in range(500):
        key = str(min(int(chance.paretovariate(0.5)), 20))  # a few keys have most of the jobs
        before = bound(loads, factor=factor)
        chosen = places(key, loads, factor=factor)[0]
        assert loads[chosen] + 1 <= before
        loads[chosen] += 1
    assert max(loads.values()) <= math.ceil(factor * 500 / len(REPLICAS))


def test_keys_meet_more_often_than_by_chance() -> None:
    """Of the pairs of jobs at one replica, those with one key: by hashing, and by the least load."""

    def met(at: list[tuple[str, str]]) -> float:
        pairs = Counter(at)
        by_replica = Counter(replica for replica, _ in at)
        return sum(n * (n - 1) for n in pairs.values()) / sum(n * (n - 1) for n in by_replica.values())

    chance = random.Random(1)
    keys = [str(chance.randrange(16)) for _ in range(400)]
    loads, hashed = dict.fromkeys(REPLICAS, 0), []
    for key in keys:
        chosen = places(key, loads)[0]
        loads[chosen] += 1
        hashed.append((chosen, key))
    spread = [(REPLICAS[number % len(REPLICAS)], key) for number, key in enumerate(keys)]
    assert met(hashed) > 3 * met(spread)


def test_one_key_alone_is_spread_over_all() -> None:
    loads = dict.fromkeys(REPLICAS, 0)
    for _ in range(64):
        loads[places("the same", loads)[0]] += 1
    assert max(loads.values()) <= math.ceil(1.25 * 64 / 8)
    assert min(loads.values()) > 0


def test_a_replica_that_goes_moves_the_keys_of_its_own_alone() -> None:
    idle = dict.fromkeys(REPLICAS, 0)
    fewer = dict.fromkeys(REPLICAS[1:], 0)
    moved = [key for key in map(str, range(400)) if places(key, idle)[0] != places(key, fewer)[0]]
    assert moved
    assert all(places(key, idle)[0] == REPLICAS[0] for key in moved)


def test_an_idle_replica_goes_before_a_batch_that_could_be_joined() -> None:
    preferred = order("key", REPLICAS)
    busy = {**dict.fromkeys(REPLICAS, 0), preferred[0]: 1}
    assert places("key", busy)[0] == preferred[1]
    assert places("key", dict.fromkeys(REPLICAS, 1))[0] == preferred[0]


def test_a_replica_that_has_the_model_goes_before_one_that_the_key_prefers() -> None:
    loads = dict.fromkeys(REPLICAS, 1)
    preferred = order("key", REPLICAS)
    assert places("key", loads)[0] == preferred[0]
    assert places("key", loads, having_model=[preferred[5]])[0] == preferred[5]
    full = {**loads, preferred[5]: 9}
    assert places("key", full, having_model=[preferred[5]])[0] == preferred[0]


def test_all_replicas_are_tried_the_fullest_last() -> None:
    loads = {name: number**2 for number, name in enumerate(REPLICAS)}
    tried = places("key", loads)
    assert sorted(tried) == REPLICAS
    assert tried[-1] == REPLICAS[-1]


def test_there_may_be_no_replica() -> None:
    assert places("key", {}) == []


def test_the_simulation_places_jobs_as_the_router_does() -> None:
    simulated, chance = Router(max_ongoing=1000), random.Random(2)
    for replica in range(8):
        simulated.add(replica)
    for _ in range(600):
        loads = {str(replica): load for replica, load in simulated.loads.items()}
        key = chance.randrange(5)
        assert places(str(key), loads)[0] == str(simulated.place(key))
        if chance.random() < 0.6:
            simulated.release(chance.choice([one for one, load in simulated.loads.items() if load]))
