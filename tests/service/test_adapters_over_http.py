"""/v1/prompt/adapters: from one folder and nowhere else, decided by keys that may."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapters.adapter_drafts import lora_draft
from conftest import Play
from prompt_engines import Playing
from served import Client
from skipstep_service.prompts import opening
from skipstep_service.settings import ApiKey, settings_of
from test_audit import SPELLINGS, raw

from skipstep.errors import OptionError

OTHERS = ("link/../../secret", "photo/../../secret", "./photo", "photo/", "photo//photo", "")
ROOT = "/v1/prompt/adapters"
OPENED: list[str] = []  # paths, while there is a list's first element "on"


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if OPENED and event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], (str, bytes, os.PathLike)):
        OPENED.append(os.fsdecode(arguments[0]))


@pytest.fixture(scope="session")
def noted() -> list[str]:
    """Paths that this process opens from now on; hooks cannot be taken off again."""
    sys.addaudithook(_note)
    return OPENED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    lora_draft().write(folder / "photo")
    lora_draft().write(folder / "styles" / "anime")
    (folder / "photo.safetensors").write_bytes((folder / "photo" / "adapter_model.safetensors").read_bytes())
    lora_draft().write(tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    lora_draft().write(folder / "pickled")
    (folder / "pickled" / "adapter_model.bin").write_bytes(b"x")
    return folder


@pytest.fixture
def engine() -> Playing:
    return Playing()


@pytest.fixture
def served(play: Play, engine: Playing, root: Path) -> Iterator[Client]:
    with play(engine, prompt_adapters=str(root)) as client:
        yield client


def names(client: Client) -> list[str]:
    return [one["name"] for one in client.get(ROOT).json()["adapters"]]


def test_what_can_be_used_is_there_at_the_start(served: Client) -> None:
    (photo,) = served.get(ROOT).json()["adapters"]  # styles is none, link is a link, pickled has a pickle
    assert (photo["name"], photo["family"], photo["layout"], photo["ranks"]) == ("photo", "LoRA", "peft", [4])
    assert photo["modules"][0]["name"].startswith("model.layers.0.")
    assert len(photo["sha256"]) == 64
    (model,) = served.get("/v1/prompt/models").json()["models"]
    assert (model["families"], model["adapters"]) == (["LoRA"], ["photo"])


def test_adding_using_replacing_and_removing(served: Client, engine: Playing) -> None:
    added = served.post(ROOT, json={"folder": "styles/anime"})
    assert added.status_code == 201
    assert added.json()["name"] == "anime"
    assert served.post(ROOT, json={"folder": "styles/anime", "name": "second"}).json()["name"] == "second"
    assert names(served) == ["photo", "anime", "second"]
    uses = [{"name": "anime", "scale": 0.5}, {"name": "second"}]
    made = served.post("/v1/prompt/expand", json={"prompt": "a cat", "adapters": uses}).json()
    assert made["adapters"] == ["anime@0.5", "second@1"]
    assert [one.scale for one in engine.questions[0].adapters] == [0.5, 1.0]
    taken = served.post(ROOT, json={"folder": "photo", "name": "second"})
    assert taken.status_code == 422
    assert "there is an adapter second already" in taken.json()["error"]["message"]
    assert served.post(ROOT, json={"folder": "photo", "name": "second", "replace": True}).status_code == 201
    assert served.delete(f"{ROOT}/second").status_code == 204
    assert served.delete(f"{ROOT}/second").status_code == 404
    assert names(served) == ["photo", "anime"]
    gone = served.post("/v1/prompt/expand", json={"prompt": "a cat", "adapters": [{"name": "second"}]})
    assert gone.status_code == 422
    assert "there are: anime, photo" in gone.json()["error"]["message"]


def test_an_adapter_that_goes_while_a_job_waits(play: Play, engine: Playing, root: Path) -> None:
    gate = threading.Event()

    def waits(_: Any) -> Iterator[str]:
        gate.wait(20)
        yield "soft light"

    engine.script = waits
    with play(engine, prompt_adapters=str(root)) as client:
        first = client.job(expand={})["id"]
        second = client.job(expand={"adapters": [{"name": "photo"}]})["id"]
        assert client.delete(f"{ROOT}/photo").status_code == 204
        gate.set()
        assert client.until_done(first)["expansion"]["reason"] is None
        ended = client.until_done(second)
        assert ended["status"] == "succeeded"
        assert "there is no adapter 'photo'" in ended["expansion"]["reason"]
        assert ended["expansion"]["adapters"] == ["photo@1"]


def test_inspecting_adds_nothing(served: Client) -> None:
    found = served.post(f"{ROOT}/inspect", json={"folder": "styles/anime"}).json()
    assert (found["name"], found["family"]) == ("anime", "LoRA")
    assert names(served) == ["photo"]
    for folder, said in (
        ("pickled", "adapter_model.bin: is a pickle"),
        ("link", "link: is a link"),
        ("styles", "anime: is no regular file"),
        ("nothing", "there is no adapter at the folder of adapters/nothing"),
        ("photo/adapter_config.json", "neither a folder nor a .safetensors file"),
    ):
        answer = served.post(f"{ROOT}/inspect", json={"folder": folder})
        assert answer.status_code == 422
        assert said in answer.json()["error"]["message"], answer.text
        assert str(Path.home()) not in answer.text
        assert "/adapters/" not in answer.text.replace("folder of adapters/", "")
        assert served.post(ROOT, json={"folder": folder}).status_code == 422


def test_files_of_image_models_are_no_adapters_of_this_one(served: Client) -> None:
    answer = served.post(ROOT, json={"folder": "photo.safetensors", "name": "x"})
    assert answer.status_code == 422
    assert "folder must be one of the folder of adapters" in answer.json()["error"]["message"]


def test_spellings_of_other_places(served: Client, root: Path, noted: list[str]) -> None:
    places = (root.parent / "secret", Path("/etc"))
    port = int(str(served.base_url).rstrip("/").rpartition(":")[2])
    noted.append("on")
    try:
        for spelling in (*SPELLINGS, *OTHERS, str(root)):
            for path, body in (
                (ROOT, {"folder": spelling}),
                (ROOT, {"folder": spelling, "name": "x"}),
                (ROOT, {"folder": "photo", "name": spelling}),
                (f"{ROOT}/inspect", {"folder": spelling}),
                ("/v1/prompt/expand", {"prompt": "x", "preset": spelling}),
                ("/v1/prompt/expand", {"prompt": "x", "adapters": [{"name": spelling}]}),
            ):
                answer = served.post(path, json=body)
                assert answer.status_code == 422, (path, body, answer.text)
            status, _ = raw(port, f"DELETE {ROOT}/{spelling}")
            assert 400 <= status < 500 or status == 307, spelling
        served.post(f"{ROOT}/inspect", json={"folder": "photo"})
    finally:
        opened, noted[:] = [os.path.realpath(one) for one in noted[1:]], []
    assert str(root / "photo" / "adapter_config.json") in opened  # it is noted what is opened
    assert not [one for one in opened for place in places if Path(one).is_relative_to(place)]
    assert names(served) == ["photo"]


def test_who_may_decide(play: Play, engine: Playing, root: Path) -> None:
    keys = (ApiKey.of("user", "one"), ApiKey.of("admin", "two", scopes=("jobs", "admin")))
    with play(engine, prompt_adapters=str(root), api_keys=keys) as client:
        user, admin = ({"Authorization": f"Bearer {text}"} for text in ("one", "two"))
        decisions = (
            ("POST", ROOT, {"folder": "styles/anime"}, 201),
            ("POST", f"{ROOT}/inspect", {"folder": "photo"}, 200),
            ("DELETE", f"{ROOT}/anime", None, 204),
            ("POST", "/v1/prompt/unload", None, 200),
        )
        for method, path, body, status in decisions:
            assert client.request(method, path, json=body).status_code == 401
            refused = client.request(method, path, json=body, headers=user)
            assert refused.status_code == 403
            assert "lacks the scope admin" in refused.json()["error"]["message"]
            assert client.request(method, path, json=body, headers=admin).status_code == status
        for path in ("adapters", "models", "presets"):
            assert client.get(f"/v1/prompt/{path}").status_code == 401
            assert client.get(f"/v1/prompt/{path}", headers=user).status_code == 200
        chat = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
        for path, body in (("prompt/expand", {"prompt": "x"}), ("chat/completions", chat)):
            assert client.post(f"/v1/{path}", json=body).status_code == 401
            assert client.post(f"/v1/{path}", json=body, headers=user).status_code == 200


def test_a_server_without_a_folder(play: Play, engine: Playing) -> None:
    with play(engine) as client:
        answer = client.post(ROOT, json={"folder": "photo"})
        assert answer.status_code == 422
        assert "SKIPSTEP_PROMPT_ADAPTERS" in answer.json()["error"]["message"]
        assert names(client) == []


def test_folders_that_cannot_be_used(engine: Playing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "open_engine", lambda *_, **__: engine)
    settings = settings_of(prompt_engine="gguf", prompt_adapters=str(tmp_path / "missing"))
    with pytest.raises(OptionError, match="prompt_adapters must be a folder with adapter folders"):
        opening.open_prompting(settings)
    engine.base = None  # type: ignore[assignment]
    settings = settings_of(prompt_engine="gguf", prompt_adapters=str(tmp_path))
    with pytest.raises(OptionError, match="tiny-model takes no adapters"):
        opening.open_prompting(settings)
