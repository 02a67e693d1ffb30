"""Jobs from being accepted to being deleted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import Serve
from served import IMAGE, Client
from skipstep_service.engines.dummy import dummy_bytes


def test_a_job_is_accepted_done_and_fetched(client: Client) -> None:
    answer = client.post("/v1/jobs", json=IMAGE)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert job["status"] in ("queued", "running", "succeeded")
    done = client.until_done(job["id"])
    assert done["status"] == "succeeded"
    assert done["attempts"] == 1
    (output,) = done["outputs"]
    file = client.get(output["url"])
    assert file.headers["content-type"] == output["media_type"] == "image/png"
    assert file.content == dummy_bytes(IMAGE["prompt"], IMAGE["seed"])
    assert output["bytes"] == len(file.content)
    assert done["report"]["batch"] >= 1


def test_a_seed_is_drawn_and_told(client: Client) -> None:
    seeds = {client.job(seed=None)["request"]["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_pictures_of_a_job_have_seeds_that_follow(client: Client) -> None:
    done = client.until_done(client.job(n=3)["id"])
    assert [image["seed"] for image in done["report"]["images"]] == [5, 6, 7]
    files = [client.get(output["url"]).content for output in done["outputs"]]
    assert files == [dummy_bytes(IMAGE["prompt"], seed) for seed in (5, 6, 7)]


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        (None, 200, slice(0, None)),
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=500-", 206, slice(500, None)),
        ("bytes=-12", 206, slice(-12, None)),
        ("bytes=100-99999", 206, slice(100, None)),
        ("bytes=512-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-3", 200, slice(0, None)),
        ("bytes=0-1,5-6", 200, slice(0, None)),
        ("lines=0-1", 200, slice(0, None)),
    ],
)
def test_ranges(client: Client, asked: str | None, status: int, expected: slice | None) -> None:
    done = client.until_done(client.job()["id"])
    whole = dummy_bytes(IMAGE["prompt"], IMAGE["seed"])
    answer = client.get(done["outputs"][0]["url"], headers={} if asked is None else {"Range": asked})
    assert answer.status_code == status
    if expected is None:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    else:
        assert answer.content == whole[expected]
        if status == 206:
            start = len(whole[: expected.start]) if expected.start >= 0 else len(whole) + expected.start
            end = start + len(answer.content) - 1
            assert answer.headers["content-range"] == f"bytes {start}-{end}/{len(whole)}"


def test_the_same_key_is_the_same_job(client: Client) -> None:
    headers = {"Idempotency-Key": "one"}
    body = {**IMAGE, "seed": None}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=body, headers=headers), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    other = client.post("/v1/jobs", json={**body, "steps": 10}, headers=headers)
    assert other.status_code == 422
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    assert other.json()["error"]["details"] == {"job_id": answers[0].json()["id"]}


def test_pages(serve: Serve) -> None:
    with serve() as client:
        made = [client.job(seed=seed)["id"] for seed in range(7)]
        for job in made:
            client.until_done(job)
        seen: list[str] = []
        after: dict[str, Any] = {}
        while True:
            page = client.get("/v1/jobs", params={"limit": 3, **after}).json()
            seen += [job["id"] for job in page["jobs"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert seen == made[::-1]
        assert len(client.get("/v1/jobs", params={"status": "succeeded", "limit": 100}).json()["jobs"]) == 7
        assert client.get("/v1/jobs", params={"status": "failed"}).json()["jobs"] == []


def test_deleting(client: Client) -> None:
    done = client.until_done(client.job()["id"])
    url = done["outputs"][0]["url"]
    assert client.delete(f"/v1/jobs/{done['id']}").status_code == 204
    for gone in (url, done["links"]["self"], done["links"]["events"]):
        answer = client.get(gone)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"


def test_cancelling_what_waits_and_what_runs(serve: Serve) -> None:
    with serve(dummy_step_s=0.05, max_rows=1) as client:
        first, second = client.job(steps=200)["id"], client.job(steps=200)["id"]
        while client.look(first)["status"] != "running":
            time.sleep(0.01)
        waiting = client.look(second)
        assert waiting["status"] == "queued"
        assert waiting["position"] == 0
        assert waiting["eta_s"] > 0
        conflict = client.delete(f"/v1/jobs/{first}")
        assert conflict.status_code == 409
        assert client.post(f"/v1/jobs/{second}/cancel").json()["status"] == "canceled"
        started = time.monotonic()
        assert client.post(f"/v1/jobs/{first}/cancel").json()["status"] in ("canceling", "canceled")
        assert client.until_done(first)["status"] == "canceled"
        assert time.monotonic() - started < 0.3  # the next step
        assert client.until_done(second)["status"] == "canceled"
        again = client.post(f"/v1/jobs/{first}/cancel")
        assert again.status_code == 200
        assert again.json()["status"] == "canceled"
        assert client.until_done(client.job(steps=2)["id"])["status"] == "succeeded"


def test_deadlines_waiting_and_running(serve: Serve) -> None:
    with serve(dummy_step_s=0.05, max_rows=1) as client:
        running = client.job(steps=200, timeout_s=0.6)["id"]
        waiting = client.job(steps=200, timeout_s=0.2)["id"]
        for job in (waiting, running):
            ended = client.until_done(job)
            assert ended["status"] == "expired"
            assert ended["error"]["code"] == "deadline"


def test_the_queue_has_an_end(serve: Serve) -> None:
    with serve(dummy_step_s=0.05, max_rows=1, max_queue=2) as client:
        first = client.job(steps=40)["id"]
        while client.look(first)["status"] != "running":
            time.sleep(0.01)
        client.job(steps=1)
        client.job(steps=1)
        answer = client.post("/v1/jobs", json=IMAGE)
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "busy"
        assert int(answer.headers["Retry-After"]) >= 1
        client.post(f"/v1/jobs/{first}/cancel")


def test_priorities(serve: Serve) -> None:
    with serve(dummy_step_s=0.02, max_rows=1) as client:
        first = client.job(steps=30)["id"]
        while client.look(first)["status"] != "running":
            time.sleep(0.01)
        jobs = {name: client.job(steps=2, priority=name)["id"] for name in ("batch", "normal", "interactive")}
        ended = {name: client.until_done(job)["finished_at"] for name, job in jobs.items()}
        assert ended["interactive"] < ended["normal"] < ended["batch"]


def test_jobs_of_one_kind_share_a_batch_and_others_do_not(serve: Serve) -> None:
    with serve(dummy_step_s=0.02, max_rows=8) as client:
        jobs = [client.job(steps=30, seed=seed, width=64 + 64 * (seed % 2))["id"] for seed in range(6)]
        batches = [client.until_done(job)["report"]["batch"] for job in jobs]
        assert max(batches) == 3


def test_results_may_be_in_any_file_system(serve: Serve) -> None:
    with serve(results="memory://results") as client:
        job = client.until_done(client.job(n=2)["id"])
        for index, output in enumerate(job["outputs"]):
            expected = dummy_bytes(IMAGE["prompt"], IMAGE["seed"] + index)
            assert client.get(output["url"]).content == expected
            part = client.get(output["url"], headers={"Range": "bytes=8-15"})
            assert (part.status_code, part.content) == (206, expected[8:16])
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
        assert client.get(job["outputs"][0]["url"]).status_code == 404
