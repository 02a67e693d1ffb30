"""Leases: one server has a job at a time, and one that was away for too long changes nothing any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from database import DatabaseServer, database_server
from skipstep_service.jobs.accepting import new_row
from skipstep_service.jobs.bodies import ImageJob
from skipstep_service.jobs.events import Event
from skipstep_service.jobs.states import CANCELED, CANCELING, FAILED, QUEUED, SUCCEEDED
from skipstep_service.store.database import open_database
from skipstep_service.store.job_store import JobRow, JobStore
from skipstep_service.store.leases import Holder
from skipstep_service.store.tables import jobs

Servers = Callable[..., JobStore]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[DatabaseServer]:
    with database_server() as server:
        yield server


@pytest.fixture
def server(postgresql: DatabaseServer) -> Iterator[Servers]:
    """Opens stores of one new database, as servers of these names do."""
    url, opened = postgresql.database(), []

    def open_one(name: str, **options: Any) -> JobStore:
        store = JobStore(open_database(url), Holder(server=name, **{"lease_s": 30.0, **options}))
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


def accepted(store: JobStore, **values: Any) -> JobRow:
    body = ImageJob(kind="image", prompt="a red apple")
    row, _ = new_row(body, owner="", model="demo", timeout_s=60, idempotency_key=None)
    return store.accept(replace(row, **values)).result()[0]


def run_out(store: JobStore, *rows: JobRow) -> None:
    """Have leases end now."""
    with store._engine.begin() as connection:
        which = jobs.c.id.in_([row.id for row in rows])
        connection.execute(jobs.update().where(which).values(leased_until=1.0))


def claimed(store: JobStore, limit: int = 100) -> list[JobRow]:
    assert store.leases is not None
    return store.leases.claim_free(limit).result()


def test_what_a_server_accepts_is_its_own(server: Servers) -> None:
    one, other = server("one"), server("other")
    row = accepted(one)
    assert (row.lease, claimed(other), claimed(one)) == (1, [], [])
    assert other.leases is not None
    assert other.leases.claim(row.id).result() == []
    kept = one.get(row.id)
    assert kept is not None
    assert (kept.leased_by, kept.lease) == ("one", 1)


def test_a_lease_that_ran_out_is_taken_once(server: Servers) -> None:
    stores = [server(f"server{number}") for number in range(4)]
    rows = [accepted(stores[0]) for _ in range(40)]
    run_out(stores[0], *rows)
    with ThreadPoolExecutor(4) as pool:
        taken = [row for found in pool.map(claimed, stores) for row in found]
    assert sorted(row.id for row in taken) == sorted(row.id for row in rows)
    assert {row.lease for row in taken} == {2}


def test_a_lease_that_is_renewed_does_not_run_out(server: Servers) -> None:
    one, other = server("one", lease_s=0.4), server("other", lease_s=0.4)
    row, left = accepted(one), accepted(server("dead", lease_s=0.4))
    assert one.leases is not None
    for _ in range(4):
        time.sleep(0.2)
        one.leases.renew().result()
    assert [found.id for found in claimed(other)] == [left.id]
    assert one.leases.held() == {row.id: (1, QUEUED)}


def test_the_word_of_a_server_that_was_away_does_not_count(server: Servers) -> None:
    late, now = server("late"), server("now")
    row = accepted(late)
    assert late.begin([row], now=1.0).result() == {row.id}
    run_out(late, row)
    (taken,) = claimed(now)
    assert (taken.status, taken.attempts, taken.lease) == (QUEUED, 1, 2)
    assert late.begin([row], now=2.0).result() == set()
    late.keep_request(row.id, {"prompt": "another"}, lease=row.lease).result()
    assert late.finish(row.id, SUCCEEDED, now=2.0, result={"outputs": []}, lease=row.lease).result() is False
    assert late.leases is not None
    late.leases.release([row]).result()
    kept = now.get(row.id)
    assert kept is not None
    assert (kept.status, kept.leased_by, kept.request) == (QUEUED, "now", row.request)
    assert now.begin([taken], now=3.0).result() == {row.id}
    assert now.finish(row.id, SUCCEEDED, now=4.0, result={"outputs": []}, lease=taken.lease).result() is True
    done = late.get(row.id)
    assert done is not None
    assert (done.status, done.attempts) == (SUCCEEDED, 2)


def test_an_end_that_is_told_twice_is_no_loss(server: Servers) -> None:
    one = server("one")
    row = accepted(one)
    for _ in range(2):  # as after an answer of the database that was lost
        assert one.finish(row.id, SUCCEEDED, now=1.0, result={"outputs": []}, lease=row.lease).result() is True


def test_a_job_that_ends_every_server_fails(server: Servers) -> None:
    stores = [server(f"server{number}", max_attempts=2) for number in range(3)]
    row = accepted(stores[0])
    for number in range(2):
        assert stores[number].begin([row], now=1.0).result() == {row.id}
        run_out(stores[0], row)
        taken = claimed(stores[number + 1])
        row = taken[0] if taken else row
    assert taken == []
    failed = stores[0].get(row.id)
    assert failed is not None
    assert (failed.status, failed.attempts) == (FAILED, 2)
    assert failed.error == {"code": "worker_crashed", "message": "the server ended 2 times while this job ran"}


def test_a_cancellation_outlives_the_server(server: Servers) -> None:
    one, other = server("one"), server("other")
    row = accepted(one)
    one.begin([row], now=1.0).result()
    changed = other.cancel(row.id, now=2.0).result()
    assert changed is not None
    assert changed.status == CANCELING
    run_out(one, row)
    assert claimed(other) == []
    ended = one.get(row.id)
    assert ended is not None
    assert ended.status == CANCELED


def test_what_is_given_back_is_free_at_once_and_counts_no_attempt(server: Servers) -> None:
    one, other = server("one"), server("other")
    waits, runs = accepted(one), accepted(one)
    one.begin([runs], now=1.0).result()
    assert one.leases is not None
    one.leases.release([waits, runs]).result()
    assert {(row.id, row.status, row.attempts) for row in claimed(other)} == {
        (waits.id, QUEUED, 0),
        (runs.id, QUEUED, 0),
    }


def test_a_server_of_the_same_name_has_its_jobs_again(server: Servers) -> None:
    before = server("one")
    runs, waits = accepted(before), accepted(before)
    before.begin([runs], now=1.0).result()
    foreign = accepted(server("other"))
    after = server("one")
    assert after.leases is not None
    found = after.leases.claim_own().result()
    assert {row.id for row in found} == {runs.id, waits.id} != {foreign.id}
    assert before.finish(runs.id, SUCCEEDED, now=2.0, lease=runs.lease).result() is False


def test_what_is_handed_over_is_nobodys_until_it_is_claimed(server: Servers) -> None:
    ingress, engine = server("ingress", hands_over=True, grace_s=0.3), server("engine")
    first, second = accepted(ingress), accepted(ingress)
    assert claimed(engine) == []  # it is about to be handed over
    assert engine.leases is not None
    assert [row.id for row in engine.leases.claim(first.id).result()] == [first.id]
    time.sleep(0.35)
    assert [row.id for row in claimed(engine)] == [second.id]  # its ingress died
    assert (claimed(engine), engine.leases.claim(second.id).result()) == ([], [])


def test_the_most_urgent_are_taken_first(server: Servers) -> None:
    one, other = server("one"), server("other")
    rows = [accepted(one, priority=priority) for priority in (2, 0, 1)]
    run_out(one, *rows)
    assert [row.priority for row in claimed(other, limit=2)] == [0, 1]


def test_one_job_of_a_key_at_two_servers(server: Servers) -> None:
    stores = [server(f"server{number}") for number in range(4)]
    body = ImageJob(kind="image", prompt="a red apple")
    for number in range(10):
        made = [new_row(body, owner="", model="m", timeout_s=60, idempotency_key=str(number))[0] for _ in stores]
        with ThreadPoolExecutor(4) as pool:
            kept = list(pool.map(lambda pair: pair[0].accept(pair[1]).result(), zip(stores, made, strict=True)))
        assert len({row.id for row, _ in kept}) == 1
        assert [is_known for _, is_known in kept].count(False) == 1


def test_running_jobs_that_wait_are_counted(server: Servers) -> None:
    one, other = server("one"), server("other")
    rows = [accepted(store) for store in (one, one, other)]
    one.begin(rows[:1], now=1.0).result()
    assert one.leases is not None
    assert one.leases.waiting() == 2


def test_events_are_read_elsewhere(server: Servers) -> None:
    one, other = server("one"), server("other")
    told = [Event(attempt=1, number=number, kind="progress", data={"at": 1.0 * number}) for number in range(4)]
    one.events.add([("a", event) for event in told]).result()
    one.events.add([("b", told[0])]).result()
    assert other.events.after("a", None) == told
    assert other.events.after("a", (1, 1)) == told[2:]
    one.events.add([("a", replace(told[3], kind="status"))]).result()  # an attempt that was not counted
    assert [event.kind for event in other.events.after("a", (1, 2))] == ["status"]
    other.events.forget(2.0).result()
    assert [event.number for event in one.events.after("a", None)] == [2, 3]


def test_events_are_forgotten_some_time_after_the_end_of_their_job(server: Servers) -> None:
    store = server("one")
    waits, ended = accepted(store), accepted(store)
    store.finish(ended.id, SUCCEEDED, now=5.0, lease=1).result()
    told = Event(attempt=1, number=0, kind="progress", data={"at": 1.0})
    store.events.add([(row.id, told) for row in (waits, ended)]).result()
    store.events.forget(4.0).result()  # it ended later
    assert store.events.after(ended.id, None) == [told]
    store.events.forget(6.0).result()
    assert (store.events.after(ended.id, None), store.events.after(waits.id, None)) == ([], [told])
    store.events.add([(ended.id, told)]).result()
    store.delete([waits.id, ended.id]).result()  # which one that waits is not
    assert (store.events.after(ended.id, None), store.events.after(waits.id, None)) == ([], [told])


def test_a_webhook_is_due_at_one_server(server: Servers) -> None:
    one, other = server("one"), server("other")
    row = accepted(one)
    hooked = replace(row, id=row.id[:-1] + "z", request={**row.request, "webhook": {"url": "https://example.com"}})
    one.accept(hooked).result()
    one.finish(hooked.id, SUCCEEDED, now=1.0, result={}, lease=1).result()
    due = [store.deliveries.due(now=10.0, limit=5) for store in (one, other)]
    assert [len(found) for found in due] == [1, 0]
    assert len(other.deliveries.due(now=10.0 + 3600, limit=5)) == 1  # who tried it has died


def test_a_store_of_the_release_before_has_leases_after(postgresql: DatabaseServer) -> None:
    engine = open_database(postgresql.database())
    columns = {column["name"] for column in sa.inspect(engine).get_columns("jobs")}
    assert {"leased_by", "leased_until", "lease"} <= columns
    with engine.connect() as connection:
        kind = connection.scalar(sa.text("select relpersistence from pg_class where relname = 'events'"))
    assert kind in ("u", b"u")
    engine.dispose()
