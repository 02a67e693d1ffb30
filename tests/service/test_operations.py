"""Health, figures, keys and what is swept away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import Serve
from pydantic import ValidationError
from served import IMAGE, Client
from skipstep_service.jobs.ids import new_job_id
from skipstep_service.settings import ApiKey, Settings, settings_of
from skipstep_service.store.database import open_database
from skipstep_service.store.job_store import JobStore
from skipstep_service.store.results import ResultStore
from skipstep_service.store.sweeper import Sweeper

from skipstep.errors import OptionError


def test_health(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_metrics_count_jobs_and_passes(serve: Serve) -> None:
    with serve() as client:
        client.until_done(client.job(steps=9)["id"])
        page = client.get("/metrics").text
        assert "skipstep_jobs_total{" in page
        assert 'status="succeeded"' in page
        full = next(
            line for line in page.splitlines() if line.startswith("skipstep_passes_total") and 'kind="full"' in line
        )
        assert full.endswith(" 3.0")
        assert "skipstep_queue_length" in page
        assert "skipstep_ready" in page
        assert "http_server_request_duration_seconds" in page


def test_keys(serve: Serve) -> None:
    keys = [ApiKey.of("a", "one"), ApiKey.of("b", "two"), ApiKey.of("eye", "three", scopes=("metrics",))]
    with serve(api_keys=keys) as client:
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic one"},
            {"Authorization": "Bearer"},
        ):
            answer = client.get("/v1/jobs", headers=header)
            assert answer.status_code == 401, header
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        one, two, eye = ({"Authorization": f"Bearer {text}"} for text in ("one", "two", "three"))
        job = client.post("/v1/jobs", json=IMAGE, headers=one).json()["id"]
        assert client.get(f"/v1/jobs/{job}", headers=one).status_code == 200
        assert client.get(f"/v1/jobs/{job}", headers=two).status_code == 404
        assert client.get(f"/v1/jobs/{job}/events", headers=two).status_code == 404
        assert client.post(f"/v1/jobs/{job}/cancel", headers=two).status_code == 404
        assert client.get("/v1/jobs", headers=two).json()["jobs"] == []
        assert client.get("/v1/jobs", headers=eye).status_code == 403
        assert client.get("/metrics", headers=one).status_code == 403
        assert client.get("/metrics", headers=eye).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_an_open_door_is_refused() -> None:
    with pytest.raises(OptionError, match=r"host 0.0.0.0 can be reached from other machines, and no API key is set"):
        settings_of(host="0.0.0.0")
    assert Settings(host="0.0.0.0", api_keys=(ApiKey.of("a", "one"),)).host == "0.0.0.0"
    with pytest.raises(OptionError, match="max_queue"):
        settings_of(max_queue=0)
    with pytest.raises(ValidationError):
        Settings(unknown=1)  # type: ignore[call-arg]


def test_what_is_old_or_too_much_is_swept_away(serve: Serve, tmp_path: Path) -> None:
    with serve() as client:
        jobs = [client.until_done(client.job(seed=seed)["id"])["id"] for seed in range(5)]
    store = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.db'}"))
    results = ResultStore(str(tmp_path / "results"))
    orphan = new_job_id()
    results.put(orphan, "input.png", b"x")
    sweeper = Sweeper(store, results, ttl_s=3600, max_bytes=1200)
    assert sweeper.sweep_orphans() == 1
    assert results.jobs() == sorted(jobs)
    assert sweeper.sweep(now=time.time()) == 3  # 512 bytes each
    assert results.jobs() == sorted(jobs)[3:]
    assert store.get(jobs[0]) is None
    assert sweeper.sweep(now=time.time() + 7200) == 2
    assert results.jobs() == []
    store.close()
