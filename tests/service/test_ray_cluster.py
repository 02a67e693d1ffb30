"""A real Ray cluster on this machine: it draws, survives, and scales."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import ray_faults
import ray_scale
import sqlalchemy as sa
from PIL import Image
from ray_server import ray_running
from real_server import running
from skipstep_service.ray_serve.cluster import Head, guarded
from skipstep_service.settings import Settings

from skipstep.errors import OptionError

slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(900)


def drawn(url: str, **body: object) -> np.ndarray:
    answer = httpx.post(f"{url}/v1/jobs", json={"kind": "image", "prompt": "a red apple", "steps": 12, **body})
    job = answer.raise_for_status().json()["id"]
    with httpx.stream("GET", f"{url}/v1/jobs/{job}/events", timeout=300) as events:
        kinds = [line for line in events.iter_lines() if line.startswith("event: ")]
    assert kinds.count("event: progress") == 12
    data = httpx.get(f"{url}/v1/jobs/{job}/outputs/0.png").raise_for_status().content
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int16)


@slow
def test_two_replicas_draw_what_one_process_draws(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("plain", "ray")]
    for folder in folders:
        folder.mkdir()
    seeds = (1, 2, 3)
    with running(folders[0], engine="skipstep") as plain:
        expected = [drawn(plain.url, seed=seed) for seed in seeds]
    with ray_running(folders[1], ray={"min_replicas": 2, "max_replicas": 2}, engine="skipstep") as (server, _, _):
        assert len(server.replicas()) == 2
        found = [drawn(server.url, seed=seed) for seed in seeds]
        assert all(np.abs(one - other).max() <= 1 for one, other in zip(found, expected, strict=True))
        assert np.abs(found[0] - found[1]).max() > 50
        refused = httpx.post(f"{server.url}/v1/jobs", json={"kind": "image", "prompt": "x", "model": "none"})
        assert (refused.status_code, "model must be one of" in refused.text) == (422, True)


@slow
def test_replicas_change_models_and_equal_keys_meet(tmp_path: Path) -> None:
    """One model at a time in each of two replicas: those of one model go where it is."""
    ray = {"min_replicas": 2, "max_replicas": 2}
    with ray_running(tmp_path, ray=ray, engine="skipstep", max_models=1) as (server, _, _):
        for _ in range(3):
            for model in ("demo", "demo-sd15"):
                drawn(server.url, model=model)
        drawn(server.url, model="demo", seed=9)
        engine = sa.create_engine(sa.make_url(server.store).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            rows = connection.execute(sa.text("select request::json->>'model', leased_by from jobs")).all()
        engine.dispose()
    assert len(rows) == 7
    by_model = {model: {where for other, where in rows if other == model} for model in ("demo", "demo-sd15")}
    assert [len(where) for where in by_model.values()] == [1, 1]
    assert by_model["demo"] != by_model["demo-sd15"]


@slow
def test_nothing_is_lost_when_parts_of_the_cluster_die(tmp_path: Path) -> None:
    seen, tally = ray_faults.run(tmp_path, times=1, replicas=2, clients=4, engine="dummy", dummy_step_s=0.05)
    assert (tally.lost, tally.duplicated, tally.wrong) == (0, 0, 0)
    assert tally.succeeded == tally.accepted > 100
    assert seen.replica_jobs[0] > 0
    assert seen.connections[0] > 3
    assert max(seen.head_s) < 90


@slow
def test_more_replicas_draw_more() -> None:
    one, two = ray_scale.scale([1, 2], step_s=0.2, steps=12, jobs=24)
    assert two.pictures_per_s > 1.8 * one.pictures_per_s


@slow
def test_replicas_come_and_go() -> None:
    counts = [count for _, count in ray_scale.autoscale(step_s=0.2)]
    assert (counts[0], max(counts), counts[-1]) == (1, 3, 1)


def test_a_store_that_machines_cannot_share_is_refused(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "skipstep", "serve", "--ray", "--engine", "dummy"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: on Ray the store must be postgresql://USER@HOST/DB, got sqlite:")


def test_a_cluster_has_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("skipstep_service.ray_serve.cluster._TOKEN_FILE", tmp_path / "none")
    alone = guarded({}, host="127.0.0.1")
    assert alone["RAY_AUTH_MODE"] == "token"
    assert len(alone["RAY_AUTH_TOKEN"]) == 64 != guarded({}, host="127.0.0.1")["RAY_AUTH_TOKEN"]
    with pytest.raises(OptionError, match="other machines reach the head at 10.0.0.1: set RAY_AUTH_TOKEN"):
        guarded({}, host="10.0.0.1")
    assert guarded({"RAY_AUTH_TOKEN": "t"}, host="10.0.0.1") == {"RAY_AUTH_TOKEN": "t", "RAY_AUTH_MODE": "token"}
    assert "RAY_AUTH_TOKEN" not in guarded({"RAY_AUTH_MODE": "disabled"}, host="10.0.0.1")


def test_a_head_that_is_nobodys_address_is_refused() -> None:
    settings = Settings.model_validate({"ray": {"head": "nobody.invalid"}})
    with pytest.raises(OptionError, match="SKIPSTEP_RAY__HEAD must be an address or a name of this machine"):
        Head(settings, {"RAY_AUTH_MODE": "disabled"})
