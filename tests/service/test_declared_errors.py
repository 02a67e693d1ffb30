"""Every error is one that the schema declares for its route, in the form that it declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from served import IMAGE
from skipstep_service.app import create_app
from skipstep_service.settings import ApiKey, Settings

KEY = {"Authorization": "Bearer secret"}
NO_JOB = "job_00000000000000000000000000"
ROUTES = {  # by the name in the schema: a request that a server without this job answers with an error
    "GET /v1/jobs": {"params": {"limit": 0}},
    "POST /v1/jobs": {"json": {"kind": "image"}},
    "GET /v1/jobs/{job_id}": {},
    "DELETE /v1/jobs/{job_id}": {},
    "POST /v1/jobs/{job_id}/cancel": {},
    "GET /v1/jobs/{job_id}/events": {},
    "GET /v1/jobs/{job_id}/outputs/{name}": {},
    "POST /v1/images/generations": {"json": {"prompt": 1}},
    "GET /v1/videos": {"params": {"limit": 0}},
    "POST /v1/videos": {"json": {"prompt": "x"}},
    "GET /v1/videos/{job_id}": {},
    "DELETE /v1/videos/{job_id}": {},
    "GET /v1/videos/{job_id}/content": {},
    "POST /v1/prompt/expand": {"json": {"prompt": 1}},
    "POST /v1/prompt/expand_batch": {"json": {"requests": []}},
    "POST /v1/prompt/adapters": {"json": {"folder": "../x"}},
    "POST /v1/prompt/adapters/inspect": {"json": {"folder": "/etc"}},
    "DELETE /v1/prompt/adapters/{name}": {},
    "POST /v1/chat/completions": {"json": {"model": "gpt-5", "messages": [{"role": "user", "content": "x"}]}},
    "POST /sdapi/v1/txt2img": {"json": {"prompt": 1}},
    "POST /sdapi/v1/img2img": {"json": {"init_images": []}},
    "GET /sdapi/v1/progress": {"params": {"skip_current_image": "perhaps"}},
}
LOCKED = (*ROUTES, "GET /v1/models", "GET /v1/acceleration", "GET /metrics", "POST /sdapi/v1/interrupt")
LOCKED += ("GET /v1/prompt/models", "GET /v1/prompt/presets", "GET /v1/prompt/adapters", "POST /v1/prompt/unload")
STORED = [name for name in ROUTES if name.startswith("GET /v1/")]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    folder: Path = tmp_path_factory.mktemp("errors")
    keys = (ApiKey.of("me", "secret", scopes=("jobs", "metrics", "admin")),)
    store, results = f"sqlite:///{folder / 'jobs.db'}", str(folder / "results")
    options = {"a1111": True, "prompt_engine": "echo"}
    return create_app(Settings(engine="dummy", store=store, results=results, api_keys=keys, **options))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def sent(client: TestClient, name: str, *, headers: dict[str, str] = KEY, **options: Any) -> Any:
    method, path = name.split(" ")
    return client.request(method, path.format(job_id=NO_JOB, name="0.png"), headers=headers, **options)


def check_declared(app: FastAPI, name: str, answer: Any) -> None:
    """Have the answer's status, type and body be as the schema says."""
    schema = app.openapi()
    method, path = name.split(" ")
    declared = schema["paths"][path][method.lower()]["responses"]
    status = str(answer.status_code)
    assert status in declared or f"{status[0]}XX" in declared, status
    content = declared.get(status, declared.get(f"{status[0]}XX"))["content"]
    assert answer.headers["content-type"] in content
    body = content[answer.headers["content-type"]]["schema"]
    jsonschema.validate(answer.json(), {**body, "components": schema["components"]})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"detail": "as FastAPI says"}, {**body, "components": schema["components"]})


@pytest.mark.parametrize("name", ROUTES)
def test_what_cannot_be_done(app: FastAPI, client: TestClient, name: str) -> None:
    answer = sent(client, name, **ROUTES[name])
    assert answer.status_code in (400, 404, 422)
    check_declared(app, name, answer)


@pytest.mark.parametrize("name", LOCKED)
def test_no_key(app: FastAPI, client: TestClient, name: str) -> None:
    answer = sent(client, name, headers={}, **ROUTES.get(name, {}))
    assert answer.status_code == 401
    check_declared(app, name, answer)


@pytest.mark.parametrize("name", STORED)
def test_a_store_that_is_down(app: FastAPI, client: TestClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("select", {}, Exception("gone"))

    for method in ("get", "page"):
        monkeypatch.setattr(app.state.service.store, method, fail)
    answer = sent(client, name)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    check_declared(app, name, answer)


def test_a_server_that_ends(app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.state.service, "is_draining", True)
    for name, body in (("POST /v1/jobs", IMAGE), ("POST /v1/images/generations", {"prompt": "x"})):
        answer = sent(client, name, json=body)
        assert answer.status_code == 503
        check_declared(app, name, answer)
