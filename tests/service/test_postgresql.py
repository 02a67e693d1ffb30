"""The store of jobs on PostgreSQL: what SQLite's tests ask of it, and a database server that goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import kill9
import pytest
from conftest import Serve
from database import DatabaseServer, database_server
from served import IMAGE
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.store.database import open_database
from skipstep_service.store.lock import StoreLock

from skipstep.errors import OptionError


@pytest.fixture(scope="module")
def postgresql() -> Iterator[DatabaseServer]:
    with database_server() as server:
        yield server


def test_a_job(postgresql: DatabaseServer, serve: Serve) -> None:
    store = postgresql.database()
    with serve(store=store) as client:
        headers = {"Idempotency-Key": "one"}
        first = client.post("/v1/jobs", json=IMAGE, headers=headers).json()
        done = client.until_done(first["id"])
        assert done["status"] == "succeeded"
        assert client.get(done["outputs"][0]["url"]).content == dummy_bytes(IMAGE["prompt"], IMAGE["seed"])
        again = client.post("/v1/jobs", json=IMAGE, headers=headers)
        assert again.json()["id"] == first["id"]
        assert again.headers["Idempotent-Replayed"] == "true"
        assert client.post("/v1/jobs", json={**IMAGE, "seed": 6}, headers=headers).status_code == 422
        assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [first["id"]]
        assert client.get("/v1/jobs", params={"after": "\0"}).status_code == 422
        assert client.get("/v1/jobs/%00").status_code == 404
    with serve(store=store) as client:
        assert client.look(first["id"])["status"] == "succeeded"
        assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
        assert client.get(f"/v1/jobs/{first['id']}").status_code == 404


def test_text_of_any_kind(postgresql: DatabaseServer, serve: Serve) -> None:
    with serve(store=postgresql.database()) as client:
        for prompt in ("a \0 b", "яблоко 林檎 🍎", "'; drop table jobs; --", "%s %(x)s :x"):
            assert client.until_done(client.job(prompt=prompt)["id"])["request"]["prompt"] == prompt


@pytest.mark.timeout(300)
def test_a_killed_server_loses_nothing(postgresql: DatabaseServer, tmp_path: Path) -> None:
    tally = kill9.run(times=5, folder=tmp_path, store=postgresql.database())
    assert tally.succeeded == tally.accepted > 20
    assert (tally.lost, tally.duplicated, tally.wrong, tally.unfinished_files) == (0, 0, 0, 0)
    assert max(tally.attempts) > 1  # it was killed while jobs ran


def test_a_database_server_that_goes_away(postgresql: DatabaseServer, serve: Serve) -> None:
    """Nothing that was accepted is lost, nothing is accepted meanwhile, and all goes on by itself."""
    with serve(store=postgresql.database(), dummy_step_s=0.02) as client:
        accepted: list[str] = []
        answers: set[int] = set()
        stopping = threading.Event()

        def load() -> None:
            number = 0
            with httpx.Client(base_url=client.base_url, timeout=30) as sender:
                while not stopping.is_set():
                    number += 1
                    headers = {"Idempotency-Key": str(number)}
                    answer = sender.post("/v1/jobs", json={**IMAGE, "seed": number}, headers=headers)
                    while answer.status_code != 202:
                        answers.add(answer.status_code)
                        assert int(answer.headers["Retry-After"]) >= 1
                        if stopping.wait(0.05):
                            return
                        answer = sender.post("/v1/jobs", json={**IMAGE, "seed": number}, headers=headers)
                    accepted.append(answer.json()["id"])

        loader = threading.Thread(target=load)
        loader.start()
        time.sleep(0.7)
        postgresql.stop()
        time.sleep(0.5)
        before = len(accepted)
        assert before > 0
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert client.get(f"/v1/jobs/{accepted[0]}").json()["error"]["code"] == "store_down"
        time.sleep(0.5)
        assert len(accepted) == before
        postgresql.start()
        client.until_ready(timeout_s=10)
        time.sleep(0.7)
        stopping.set()
        loader.join()
        assert len(accepted) > before
        assert answers <= {429, 503}
        assert len(set(accepted)) == len(accepted)
        for job in accepted:
            assert client.until_done(job)["status"] == "succeeded"


def test_one_server_of_a_name_for_one_store(postgresql: DatabaseServer, tmp_path: Path) -> None:
    for url, name in ((postgresql.database(), "one"), (f"sqlite:///{tmp_path / 'jobs.db'}", None)):
        engines = [open_database(url) for _ in range(2)]
        first, second = (StoreLock(engine, name) for engine in engines)
        first.acquire(0)
        with pytest.raises(OptionError, match="another server has the store"):
            second.acquire(0.3)
        threading.Timer(0.3, first.close).start()
        second.acquire(5)
        second.check()
        second.close()
        for engine in engines:
            engine.dispose()


@pytest.mark.parametrize("names", [("one", "another"), (None, None)])
def test_servers_of_other_names_share_a_store(names: tuple[str | None, str | None], postgresql: DatabaseServer) -> None:
    url = postgresql.database()
    engines = [open_database(url) for _ in names]
    locks = [StoreLock(engine, name) for engine, name in zip(engines, names, strict=True)]
    for lock in locks:
        lock.acquire(0)
    for lock, engine in zip(locks, engines, strict=True):
        lock.check()
        lock.close()
        engine.dispose()


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot open the store postgresql"):
        open_database(f"postgresql://nobody:secret@/none?host={tmp_path}")
    with pytest.raises(OptionError) as caught:
        open_database(f"postgresql://nobody:secret@/none?host={tmp_path}")
    assert "secret" not in str(caught.value)
