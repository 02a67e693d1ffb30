"""Events of jobs: in order, without gaps, and again from where a client was."""

from __future__ import annotations

import time

from conftest import Serve
from served import Client


def test_events_tell_all_of_a_job(client: Client) -> None:
    job = client.job(steps=9, n=2)
    events = list(client.events(job["id"]))
    assert [event["event"] for event in events[:2]] == ["status", "status"]
    assert [event["data"]["status"] for event in events[:2]] == ["queued", "running"]
    progress = [event["data"] for event in events if event["event"] == "progress"]
    assert len(progress) == 18
    one = [event for event in progress if event["image"] == 0]
    assert [event["evaluation"] for event in one] == list(range(9))
    assert "".join(event["pass"][0] for event in one).count("f") == 3
    assert [event["data"]["name"] for event in events if event["event"] == "output"] == ["0.png", "1.png"]
    assert events[-1]["data"]["status"] == "succeeded"
    assert events[-1]["data"]["result"]["outputs"]
    numbers = [int(event["id"].split("-")[1]) for event in events if event["id"].startswith("1-")]
    assert numbers == list(range(len(numbers)))


def test_a_client_goes_on_where_it_was(client: Client) -> None:
    job = client.job(steps=12)
    whole = list(client.events(job["id"]))
    for place in (0, 3, len(whole) - 2):
        rest = list(client.events(job["id"], after=whole[place]["id"]))
        assert rest == whole[place + 1 :]
    assert list(client.events(job["id"], after=whole[-1]["id"])) == []
    assert list(client.events(job["id"], after="nonsense")) == whole


def test_events_come_as_they_happen(serve: Serve) -> None:
    with serve(dummy_step_s=0.05) as client:
        job = client.job(steps=10)
        late = [time.time() - event["data"]["at"] for event in client.events(job["id"]) if event["event"] == "progress"]
        assert len(late) == 10
        assert sorted(late)[5] < 0.03


def test_events_of_a_job_of_an_earlier_process(serve: Serve) -> None:
    with serve() as client:
        job = client.job()["id"]
        done = client.until_done(job)
    with serve() as client:
        (event,) = client.events(job)
        assert event["data"]["status"] == "succeeded"
        assert event["data"]["result"]["outputs"][0]["name"] == done["outputs"][0]["name"]
        assert list(client.events(job, after=event["id"])) == []


def test_no_such_job(client: Client) -> None:
    for name in ("job_00000000000000000000000000", "x", "..%2f..%2fetc"):
        assert client.get(f"/v1/jobs/{name}/events").status_code == 404
