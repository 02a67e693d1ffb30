"""Webhooks: what is posted when a job ends, and that it arrives whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from conftest import Serve
from database import database_server
from real_server import free_port
from receiver import ENDLESS, HOOKS, SECRET, Posted, receiving, resolving, trap
from served import IMAGE, Client
from skipstep_service.app import create_app
from skipstep_service.engines.dummy import DummyRows
from skipstep_service.jobs.accepting import new_row
from skipstep_service.jobs.bodies import ImageJob
from skipstep_service.serve import environment_of
from skipstep_service.settings import Settings, settings_of
from skipstep_service.store.database import MIGRATIONS, open_database
from skipstep_service.store.job_store import JobRow, JobStore
from skipstep_service.webhooks.signing import Signer
from standardwebhooks import Webhook, WebhookVerificationError

from skipstep.errors import OptionError

OTHER = "whsec_" + "QUJD" * 10 + "QUI="


def event(posted: Posted, *, secret: str = SECRET) -> dict[str, Any]:
    """What was posted, if it is signed."""
    read: dict[str, Any] = Webhook(secret).verify(posted.body, posted.headers)
    return read


def deliveries(folder: Path) -> list[dict[str, Any]]:
    with sqlite3.connect(folder / "jobs.db") as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("select * from deliveries order by job_id")]
    database.close()
    return rows


def until_over(folder: Path, *, timeout_s: float = 20.0) -> list[dict[str, Any]]:
    """The deliveries when each is delivered or given up."""
    end = time.monotonic() + timeout_s
    while not all(row["delivered_at"] or row["given_up_at"] for row in deliveries(folder)):
        if time.monotonic() > end:
            raise TimeoutError(str(deliveries(folder)))
        time.sleep(0.02)
    return deliveries(folder)


def test_the_end_is_posted_and_signed(serve: Serve, tmp_path: Path) -> None:
    with receiving() as receiver, serve(**HOOKS) as client:
        job = client.job(webhook={"url": receiver.url()})
        done = client.until_done(job["id"])
        (posted,) = receiver.until(1)
        (row,) = until_over(tmp_path)
    assert posted.path == "/hook?token=letmein"
    assert posted.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["webhook-id"] == f"{job['id']}_succeeded"
    told = event(posted)
    assert told["type"] == "job.succeeded"
    assert told["timestamp"] == done["finished_at"]
    assert told["data"] == done
    assert (row["attempts"], row["next_at"], row["given_up_at"], row["last_error"]) == (1, None, None, None)
    for changed in (posted.body.replace(b"succeeded", b"failed"), posted.body + b" "):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(changed, posted.headers)
    for name in ("webhook-id", "webhook-timestamp"):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(posted.body, {**posted.headers, name: "1"})
    with pytest.raises(WebhookVerificationError):
        event(posted, secret=OTHER)


def test_every_end_is_posted(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    start = DummyRows.start

    def refuse(rows: Any, task: Any, listener: Any) -> Any:
        if task.run["prompt"] == "break":
            raise RuntimeError("broken")
        return start(rows, task, listener)

    monkeypatch.setattr(DummyRows, "start", refuse)
    with receiving() as receiver, serve(dummy_step_s=0.05, max_rows=1, **HOOKS) as client:
        hook = {"webhook": {"url": receiver.url()}}
        broken = client.job(prompt="break", **hook)["id"]
        client.until_done(broken)
        running = client.job(steps=200, **hook)["id"]
        waiting = client.job(steps=200, **hook)["id"]
        late = client.job(steps=200, timeout_s=0.1, **hook)["id"]
        while client.look(running)["status"] != "running":
            time.sleep(0.01)
        client.post(f"/v1/jobs/{waiting}/cancel")
        client.post(f"/v1/jobs/{waiting}/cancel")
        client.until_done(late)
        client.post(f"/v1/jobs/{running}/cancel")
        receiver.until(4)
        time.sleep(0.6)  # two looks more: nothing is posted twice
        told = {event(one)["data"]["id"]: event(one) for one in receiver.posted}
        assert len(receiver.posted) == 4
        assert {job: one["type"] for job, one in told.items()} == {
            broken: "job.failed",
            waiting: "job.canceled",
            running: "job.canceled",
            late: "job.expired",
        }
        assert told[broken]["data"]["error"]["code"] == "internal"
        for job, one in told.items():
            assert one["data"] == client.look(job)


def test_tries_go_on_until_one_succeeds(serve: Serve, tmp_path: Path) -> None:
    with receiving((500, 404, 429, 204)) as receiver, serve(webhook_retries_s=[0.1, 0.2, 0.3], **HOOKS) as client:
        client.job(webhook={"url": receiver.url()})
        posted = receiver.until(4)
        (row,) = until_over(tmp_path)
    assert row["delivered_at"] is not None
    assert (row["attempts"], row["last_error"]) == (4, "answered with status 429")
    assert len({one.headers["webhook-id"] for one in posted}) == 1
    assert len({one.body for one in posted}) == 1
    for one in posted:
        event(one)


@pytest.mark.parametrize(("statuses", "tries"), [((503,), 3), ((410,), 1), ((500, 410), 2)])
def test_it_is_given_up(serve: Serve, tmp_path: Path, statuses: tuple[int, ...], tries: int) -> None:
    with receiving(statuses) as receiver, serve(webhook_retries_s=[0, 0], **HOOKS) as client:
        job = client.job(webhook={"url": receiver.url()})["id"]
        client.until_done(job)
        receiver.until(tries)
        (row,) = until_over(tmp_path)
        time.sleep(0.6)
        assert len(receiver.posted) == tries
        assert (row["attempts"], row["delivered_at"], row["next_at"]) == (tries, None, None)
        assert row["last_error"] == f"answered with status {statuses[-1]}"
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        assert deliveries(tmp_path) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Serve, tmp_path: Path, status: int) -> None:
    with trap() as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/"
        with receiving((status,), location=location) as receiver, serve(webhook_retries_s=[0], **HOOKS) as client:
            client.job(webhook={"url": receiver.url()})
            (row,) = (receiver.until(2), until_over(tmp_path))[1]
    assert row["last_error"] == f"answered with status {status}"
    assert elsewhere.connections == 0


def test_a_receiver_without_answer_or_end_holds_nobody_up(serve: Serve, tmp_path: Path) -> None:
    never = threading.Event()
    with (
        receiving(wait=never) as silent,
        receiving(ENDLESS) as endless,
        receiving() as other,
        serve(webhook_timeout_s=1, webhook_retries_s=[], **HOOKS) as client,
    ):
        for receiver in (silent, endless, other):
            client.job(webhook={"url": receiver.url()})
        other.until(1, timeout_s=0.9)
        errors = [row["last_error"] for row in until_over(tmp_path)]
    assert errors == ["no answer within 1 s", None, None]


def test_a_server_that_ends_does_not_wait_for_receivers(serve: Serve, tmp_path: Path) -> None:
    never = threading.Event()
    with receiving(wait=never) as receiver:
        with serve(webhook_timeout_s=60, **HOOKS) as client:
            client.job(webhook={"url": receiver.url()})
            receiver.until(1)
            time.sleep(0.6)  # two looks more: what is under way is not begun again
            assert len(receiver.posted) == 1
            started = time.monotonic()
        assert time.monotonic() - started < 2
        (row,) = deliveries(tmp_path)
        assert (row["attempts"], row["delivered_at"]) == (0, None)
        never.set()
        with serve(**HOOKS):
            first, second = receiver.until(2)
            until_over(tmp_path)
    assert first.body == second.body


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new store of jobs."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
    else:
        with database_server() as server:
            yield server.database()


def test_what_was_not_delivered_is_delivered_by_the_next_server(serve: Serve, store: str) -> None:
    port = free_port()
    with serve(webhook_retries_s=[0.3] * 20, store=store, **HOOKS) as client:  # nobody listens
        jobs = [client.job(webhook={"url": f"http://127.0.0.1:{port}/"})["id"] for _ in range(20)]
        for job in jobs:
            client.until_done(job)
    with receiving(port=port) as receiver, serve(webhook_retries_s=[0.3] * 20, store=store, **HOOKS) as client:
        told = [event(one) for one in receiver.until(20)]
        assert sorted(one["data"]["id"] for one in told) == sorted(jobs)
        assert client.delete(f"/v1/jobs/{jobs[0]}").status_code == 204


def test_a_killed_server_loses_no_event_and_logs_no_secret(tmp_path: Path) -> None:
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    settings = {
        "ENGINE": "dummy",
        "STORE": f"sqlite:///{tmp_path / 'jobs.db'}",
        "RESULTS": str(tmp_path / "results"),
        "WEBHOOK_SECRET": SECRET,
        "WEBHOOK_ALLOW": '["127.0.0.0/8"]',
        "WEBHOOK_RETRIES_S": "[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]",
    }
    environment = {**os.environ, **{f"SKIPSTEP_{name}": value for name, value in settings.items()}}
    line = [sys.executable, "-m", "uvicorn", "skipstep_service.serve:factory", "--factory", "--port", str(port)]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            process = subprocess.Popen(line, env=environment, stdout=out, stderr=out)
        with Client(base_url=url) as client:
            client.until_ready()
        return process

    with receiving((500,)) as refusing:
        process = start()
        with Client(base_url=url) as client:
            jobs = [client.job(webhook={"url": refusing.url()})["id"] for _ in range(3)]
            for job in jobs:
                client.until_done(job)
        refusing.until(1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with receiving(port=refusing.port) as receiver:
        process = start()
        told = [event(one) for one in receiver.until(3)]
        process.terminate()
        process.wait()
    assert sorted(one["data"]["id"] for one in told) == sorted(jobs)
    written = log.read_text()
    assert "Uvicorn running" in written
    assert "letmein" not in written
    assert SECRET.removeprefix("whsec_") not in written


def test_they_are_off_by_default(client: Client) -> None:
    answer = client.post("/v1/jobs", json={**IMAGE, "webhook": {"url": "https://hooks.example.com/"}})
    assert answer.status_code == 422
    assert "its operator can set SKIPSTEP_WEBHOOK_SECRET" in answer.json()["error"]["message"]
    assert "skipstep-webhooks" not in {thread.name for thread in threading.enumerate()}
    assert client.post("/v1/jobs", json={**IMAGE, "webhook": None}).status_code == 202
    image = {"prompt": "x", "webhook": {"url": "https://hooks.example.com/"}}
    assert client.post("/v1/images/generations", json=image).status_code == 400


def test_answers_have_the_url_without_its_query(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving({}))
    with serve(webhook_retries_s=[], webhook_secret=SECRET) as client:
        job = client.job(webhook={"url": "https://10.9.8.7.example.com/a/b?token=letmein"})
        assert job["request"]["webhook"] == {"url": "https://10.9.8.7.example.com/a/b"}
        client.until_done(job["id"])
        for path in (f"/v1/jobs/{job['id']}", "/v1/jobs"):
            assert "letmein" not in client.get(path).text
        assert "webhook" not in client.job()["request"]


@pytest.mark.parametrize(
    "secret", ["", " ", "whsec_", "whsec_c2hvcnQ=", SECRET[6:], "whsec_" + "!" * 44, SECRET + " x"]
)
def test_a_secret_has_to_be_one(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="webhook_secret: must be whsec_ and 24 to 64 random bytes in base64"):
        settings_of(webhook_secret=secret)
    monkeypatch.setenv("SKIPSTEP_WEBHOOK_SECRET", secret)
    with pytest.raises(ValueError, match="random bytes") as caught:
        Settings()
    assert len(secret) < 10 or secret not in str(caught.value)


def test_the_secret_is_needed_and_not_shown() -> None:
    with pytest.raises(OptionError, match="webhooks are off; set SKIPSTEP_WEBHOOK_SECRET"):
        settings_of(webhook_allow=["10.0.0.0/8"])
    settings = settings_of(**HOOKS, engine="dummy")
    hidden = SECRET.removeprefix("whsec_")
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert "webhook_secret" in shown
        assert hidden not in shown
    assert hidden not in json.dumps(create_app(settings).openapi())
    given = environment_of(settings)
    assert given["SKIPSTEP_WEBHOOK_SECRET"] == SECRET  # in the process that serves
    assert json.loads(given["SKIPSTEP_WEBHOOK_ALLOW"]) == ["127.0.0.0/8"]


def test_two_secrets_sign_while_one_replaces_the_other(serve: Serve) -> None:
    with receiving() as receiver, serve(**{**HOOKS, "webhook_secret": f"{OTHER} {SECRET}"}) as client:
        client.job(webhook={"url": receiver.url()})
        (posted,) = receiver.until(1)
    assert event(posted, secret=OTHER) == event(posted, secret=SECRET)


def test_proxies_of_the_environment_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with trap() as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        assert httpx.Client()._mounts  # another client would go there
        monkeypatch.setattr(
            Client, "__init__", lambda self, **options: httpx.Client.__init__(self, trust_env=False, **options)
        )
        with serve(**HOOKS) as client:
            client.job(webhook={"url": receiver.url()})
            receiver.until(1)
    assert proxy.connections == 0


def test_the_certificate_has_to_be_of_the_name(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=x -addext subjectAltName=DNS:hooks.example.com"
    subprocess.run([*line.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names = {"hooks.example.com": ["127.0.0.1"], "other.example.com": ["127.0.0.1"]}
    monkeypatch.setattr(socket, "getaddrinfo", resolving(names))
    with receiving(tls=tls) as receiver, serve(webhook_retries_s=[], **HOOKS) as client:
        for name in names:
            job = client.job(webhook={"url": f"https://{name}:{receiver.port}/"})["id"]
            client.until_done(job)
        good, bad = until_over(tmp_path)
        (posted,) = receiver.posted
    assert good["delivered_at"] is not None
    assert posted.headers["host"] == f"hooks.example.com:{receiver.port}"
    assert bad["given_up_at"] is not None
    assert "certificate" in bad["last_error"].lower()


def row_of(**fields: Any) -> JobRow:
    body = ImageJob.model_validate({**IMAGE, "webhook": {"url": "https://hooks.example.com/"}, **fields})
    return new_row(body, owner="", model="dummy", timeout_s=60, idempotency_key=None)[0]


def due(store: JobStore) -> set[str]:
    return {one.job_id for one in store.deliveries.due(now=1e12, limit=100)}


def test_they_fall_due_with_the_end_of_the_job_and_not_before(tmp_path: Path) -> None:
    store = JobStore(open_database(f"sqlite:///{tmp_path / 'jobs.db'}"))
    done, canceled, canceling, crashed, again, silent = rows = [row_of() for _ in range(6)]
    rows[-1] = silent = row_of(webhook=None)
    for row in rows:
        store.accept(row).result()
    assert due(store) == set()
    store.finish(done.id, "succeeded", now=1.0, result={"outputs": []}).result()
    store.finish(silent.id, "succeeded", now=1.0, result={"outputs": []}).result()
    store.cancel(canceled.id, now=2.0).result()
    assert due(store) == {done.id, canceled.id}
    for _ in range(3):
        store.begin([crashed], now=3.0).result()
        store.requeue([]).result()
        assert crashed.id not in due(store)
        store.put_back(now=3.0).result()
    store.begin([again, canceling], now=3.0).result()
    store.cancel(canceling.id, now=3.0).result()
    assert due(store) == {done.id, canceled.id, crashed.id}
    store.put_back(now=4.0).result()
    assert due(store) == {done.id, canceled.id, crashed.id, canceling.id}
    store.deliveries.delivered(done.id, now=5.0).result()
    store.deliveries.give_up(canceled.id, now=5.0, error="x").result()
    for row in (done, canceled):
        store.finish(row.id, "failed", now=6.0, error={"code": "x", "message": "x"}).result()
        store.cancel(row.id, now=6.0).result()
    store.put_back(now=6.0).result()
    assert due(store) == {crashed.id, canceling.id}  # and not those again
    store.delete([crashed.id, again.id]).result()
    assert due(store) == {canceling.id}
    store.close()


def test_a_store_of_the_release_before_is_taken_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    old = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    row = row_of(webhook=None)
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with old.begin() as connection:
        plain = {**vars(row), "request": json.dumps(row.request)}
        table = sa.Table("jobs", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(table).values({one.name: plain[one.name] for one in table.columns}))
        assert "deliveries" not in sa.inspect(connection).get_table_names()
    old.dispose()
    store = JobStore(open_database(url))
    assert store.get(row.id) == row
    new = row_of()
    store.accept(new).result()
    store.cancel(row.id, now=1.0).result()
    store.cancel(new.id, now=1.0).result()
    assert due(store) == {new.id}
    store.close()


def test_a_fault_of_ours_is_logged_and_stops_no_other(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = Signer.headers

    def failing(signer: Signer, message_id: str, body: str, **options: Any) -> dict[str, str]:
        if "job.failed" in body or '"seed":1,' in body:
            raise RuntimeError("broken")
        return headers(signer, message_id, body, **options)

    monkeypatch.setattr(Signer, "headers", failing)
    with structlog.testing.capture_logs() as logs, receiving() as receiver, serve(**HOOKS) as client:
        broken = client.job(seed=1, webhook={"url": receiver.url()})["id"]
        client.until_done(broken)
        client.job(seed=2, webhook={"url": receiver.url()})
        receiver.until(1)
    (logged,) = [one for one in logs if one["event"] == "a webhook failed"]
    assert logged["job"] == broken
    assert [row["attempts"] for row in deliveries(tmp_path)] == [0, 1]
