"""What the server opens: only its own files, whatever names are sent, and no pickles."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import skipstep_service
import torch
from real_server import RealServer
from served import IMAGE, Client
from skipstep_service.jobs.ids import new_job_id
from skipstep_service.opening import new_engine
from skipstep_service.settings import Settings

import skipstep
from skipstep.errors import OptionError

SECRET = "a secret of another folder"
UPWARDS = (
    *("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", "..;/", ".%2e/", "%252e%252e%252f"),
    *("%c0%ae%c0%ae/", "%c0%ae%c0%ae%c0%af", "%e0%80%ae%e0%80%ae/", "%ef%bc%8e%ef%bc%8e/", "\u2024\u2024/"),
    *("..%00/", "%00../", "/", "//", "%2f", "\\\\host\\", "%5c%5chost%5c", "file:///", "C:\\", "~/"),
)
FILES = ("etc/passwd", "secret.json", "jobs.db", "%00", "x" * 3000, "input.png", "..", "0.png")
SPELLINGS = [up * depth + name for name in FILES for up, depth in zip(UPWARDS, (1, 3, 8) * 9, strict=False)]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A server whose folder has a secret beside its results."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "secret.json").write_text(SECRET)
    (folder / "plans").mkdir()
    server = RealServer(folder, a1111=True, plans=folder / "plans", max_queue=10_000, prompt_engine="echo")
    script = Path(__file__).with_name("audited_server.py")
    server.start([sys.executable, str(script), str(folder / "notes"), str(server.port)])
    yield server
    server.stop()


@pytest.fixture
def client(audited: RealServer) -> Iterator[Client]:
    with Client(base_url=audited.url, timeout=30) as client:
        yield client


class Watch:
    """What was noted since it was made."""

    def __init__(self, server: RealServer) -> None:
        self._notes = server.folder / "notes"
        self._start = self._notes.stat().st_size
        static = Path(skipstep_service.__file__).parent
        places = (server.folder / "results", static, skipstep.__path__[0], sys.prefix, sys.base_prefix)
        self._roots = tuple(os.path.join(os.path.realpath(place), "") for place in places)
        self._database = str(server.folder / "jobs.db")

    def lines(self) -> list[str]:
        """All events."""
        with self._notes.open("rb") as file:
            file.seek(self._start)
            return file.read().decode(errors="replace").splitlines()

    def foreign(self) -> list[str]:
        """Events of files that are not the server's own."""
        return [line for line in self.lines() if line.startswith("pickle") or not self._is_own(line.partition("\t")[2])]

    def _is_own(self, name: str) -> bool:
        if not name or name.startswith(self._database):
            return True
        real = os.path.realpath(name)
        return os.path.join(real, "").startswith(self._roots)


def raw(port: int, line: str, *headers: str, body: bytes = b"") -> tuple[int, bytes]:
    """A request as it is spelled: clients would mend it."""
    head = "\r\n".join([f"{line} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer[9:12] or b"400"), answer.partition(b"\r\n\r\n")[2]


def test_paths_that_lead_elsewhere(audited: RealServer, client: Client) -> None:
    job = client.until_done(client.job()["id"])["id"]
    places = ("/v1/jobs/{}", "/v1/jobs/{}/events", "/v1/jobs/{}/outputs/0.png", f"/v1/jobs/{job}/outputs/{{}}")
    places += ("/v1/videos/{}", "/v1/videos/{}/content", "/{}", "/static/{}", "/v1/jobs?after={}")
    page = client.get("/").content
    watch, statuses = Watch(audited), Counter[int]()
    assert len(SPELLINGS) == 200
    for spelling in SPELLINGS:
        for place in places:
            status, body = raw(audited.port, f"GET {place.format(spelling)}")
            statuses[status] += 1
            assert SECRET.encode() not in body
            assert b"root:" not in body
            assert not body.startswith(b"SQLite")
            if not 400 <= status < 500:
                own = client.get(f"/v1/jobs/{job}/outputs/0.png").content
                assert status == 307 or place.endswith("={}") or body in (page, own), (place, spelling, status)
        for line in (
            f"DELETE /v1/jobs/{spelling}",
            f"DELETE /v1/prompt/adapters/{spelling}",
            f"POST /v1/jobs/{spelling}/cancel",
            f"DELETE /v1/videos/{spelling}",
        ):
            status, _ = raw(audited.port, line)
            assert 400 <= status < 500 or status == 307, (line, status)
    assert statuses[404] > 1000
    assert f"open\t{audited.folder}/results/{job}/0.png" in watch.lines()  # it is noted what is opened
    assert watch.foreign() == []
    assert (audited.folder / "secret.json").read_text() == SECRET


def test_names_in_bodies_and_headers(audited: RealServer, client: Client) -> None:
    watch = Watch(audited)
    for spelling in SPELLINGS:
        for more in (
            {"model": spelling},
            {"loras": [{"name": spelling}]},
            {"acceleration": {"plan": spelling}},
            {"image": spelling},
            {"image": f"file:///{spelling}"},
            {"expand": {"preset": spelling}},
            {"expand": {"adapters": [{"name": spelling}]}},
        ):
            answer = client.post("/v1/jobs", json={**IMAGE, **more})
            assert answer.status_code == 422, (more, answer.text)
            assert SECRET not in answer.text
        for path, sent in (("adapters", {"folder": spelling}), ("adapters/inspect", {"folder": spelling})):
            assert client.post(f"/v1/prompt/{path}", json=sent).status_code == 422, sent
        chat = {"model": f"echo+{spelling}", "messages": [{"role": "user", "content": "x"}]}
        assert client.post("/v1/chat/completions", json=chat).status_code == 400, spelling
        body = json.dumps(IMAGE).encode()
        kind = "Content-Type: application/json"
        status, _ = raw(audited.port, "POST /v1/jobs", kind, f"Idempotency-Key: {spelling}", body=body)
        assert status == (202 if len(spelling) < 256 else 422), spelling
    assert watch.foreign() == []


def test_links_in_the_folder_of_results(audited: RealServer, client: Client) -> None:
    results = audited.folder / "results"
    job = client.until_done(client.job(seed=77)["id"])["id"]
    assert client.get(f"/v1/jobs/{job}/outputs/0.png").status_code == 200
    (results / job / "0.png").unlink()
    (results / job / "0.png").symlink_to(audited.folder / "secret.json")
    other = client.until_done(client.job(seed=78)["id"])["id"]
    (results / other / "0.png").rename(audited.folder / "0.png")
    (results / other).rmdir()
    (results / other).symlink_to(audited.folder)
    (results / new_job_id()).symlink_to(audited.folder)
    watch = Watch(audited)
    for name in (job, other):
        assert client.get(f"/v1/jobs/{name}/outputs/0.png").status_code == 404
    assert watch.foreign() == []


def test_a_file_of_another_place_would_be_noticed(audited: RealServer) -> None:
    watch = Watch(audited)
    with (audited.folder / "notes").open("a") as notes:
        notes.write(
            f"open\t{audited.folder / 'secret.json'}\npickle.find_class\tos\nopen\t{audited.folder}/jobs.db-wal\n"
        )
    assert watch.foreign() == [f"open\t{audited.folder / 'secret.json'}", "pickle.find_class\tos"]


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self._marker,)


def evil_file(path: Path, marker: Path) -> Path:
    if path.suffix == ".pt":
        torch.save(Evil(marker), path)
    else:
        path.write_bytes(pickle.dumps(Evil(marker)))
    return path


NAMES = ("x.ckpt", "x.pt", "x.bin", "x.safetensors")


def test_the_pickles_would_run(tmp_path: Path) -> None:
    pickle.loads(evil_file(tmp_path / "x.bin", tmp_path / "marker").read_bytes())
    assert (tmp_path / "marker").is_dir()


@pytest.mark.parametrize("name", NAMES)
def test_pickles_are_refused_at_start(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    file = evil_file(tmp_path / name, marker)
    unet = tmp_path / "folder" / "unet"
    unet.mkdir(parents=True)
    (tmp_path / "folder" / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    evil_file(unet / name, marker)
    for settings in (
        Settings(models={"x": str(file)}),
        Settings(models={"x": str(tmp_path / "folder")}),
        Settings(loras={"x": str(file)}),
    ):
        with pytest.raises(OptionError, match=f"{name}.*(is a pickle|pickles are refused|is no safetensors file)"):
            new_engine(settings)
    assert not marker.exists()


def test_the_real_server_does_not_start_with_one(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    file = evil_file(tmp_path / "x.ckpt", marker)
    environment = {**os.environ, "SKIPSTEP_LORAS": json.dumps({"x": str(file)}), "SKIPSTEP_PORT": "0"}
    line = [sys.executable, "-m", "skipstep", "serve"]
    ended = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "x.ckpt as a LoRA: x.ckpt: is neither a folder nor a .safetensors file" in ended.stdout + ended.stderr
    assert not marker.exists()
