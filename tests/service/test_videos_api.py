"""/v1/videos with OpenAI's own client, and as other servers' clients send it."""

from __future__ import annotations

import base64
import io
import time
import warnings
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from conftest import Serve
from PIL import Image
from served import Client
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.settings import ApiKey


def picture() -> bytes:
    """A small PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 30, 40)).save(buffer, "PNG")
    return buffer.getvalue()


PNG = picture()
FILE = {"input_reference": ("start.png", PNG, "image/png")}
LONG = {"steps": "400", "size": "64x64", "frames": "2"}


@pytest.fixture
def videos(client: Client) -> Iterator[Any]:
    """The videos of OpenAI's client, which says that OpenAI's own are no more."""
    with (
        openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as ai,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield ai.videos


def until_done(client: Client, video_id: str) -> dict[str, Any]:
    """The video when it has ended."""
    client.until_done(video_id)
    found: dict[str, Any] = client.get(f"/v1/videos/{video_id}").json()
    return found


def test_a_clip(client: Client, videos: Any) -> None:
    extra = {"steps": 4, "seed": 5, "motion": 60, "acceleration": {"preset": "fast"}}
    made = videos.create(prompt="", input_reference=PNG, seconds="2", size="64x48", extra_body=extra)
    assert (made.object, made.model, made.size, made.seconds) == ("video", "dummy-video", "64x48", "2")
    assert made.status in ("queued", "in_progress", "completed")
    assert not hasattr(made, "note")
    asked = client.look(made.id)["request"]
    assert (asked["frames"], asked["steps"], asked["seed"], asked["motion"]) == (14, 4, 5, 60)
    assert asked["acceleration"]["preset"] == "fast"
    done = until_done(client, made.id)
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert done["completed_at"] >= done["created_at"]
    content = videos.download_content(made.id)
    assert content.response.headers["content-type"] == "video/mp4"
    assert content.read() == dummy_bytes("", 5)
    part = client.get(f"/v1/videos/{made.id}/content", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, dummy_bytes("", 5)[:10])


def test_a_prompt_is_not_used_and_the_answer_says_so(videos: Any) -> None:
    made = videos.create(prompt="a cat", input_reference=PNG, extra_body={"steps": 2})
    assert "not used" in made.note


@pytest.mark.parametrize("wrapped", [False, True])
def test_json_and_the_names_of_other_servers(client: Client, wrapped: bool) -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    body = {
        "input_reference": {"image_url": url} if wrapped else url,
        "num_frames": 6,
        "fps": 12,
        "num_inference_steps": 3,
        "guidance_scale": 2.5,
        "format": "webm",
    }
    answer = client.post("/v1/videos", json=body)
    assert answer.status_code == 200, answer.text
    asked = client.look(answer.json()["id"])["request"]
    assert (asked["frames"], asked["fps"], asked["steps"], asked["max_guidance"]) == (6, 12, 3, 2.5)
    assert answer.json()["seconds"] == "0.5"
    until_done(client, answer.json()["id"])
    assert client.get(f"/v1/videos/{answer.json()['id']}/content").headers["content-type"] == "video/webm"


def test_a_form_with_options_in_json(client: Client) -> None:
    answer = client.post("/v1/videos", data={"acceleration": '{"preset": "quality"}', "steps": "2"}, files=FILE)
    assert answer.status_code == 200, answer.text
    assert client.look(answer.json()["id"])["request"]["acceleration"]["preset"] == "quality"


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"model": "sora-2"}, "model", "its models for videos are dummy-video"),
        ({"model": "dummy"}, "model", "its models for videos are dummy-video"),
        ({"size": "wide"}, "size", "WIDTHxHEIGHT"),
        ({"seconds": "0"}, "seconds", "greater than 0"),
        ({"seconds": "60"}, "frames", "128"),
        ({"seconds": "2", "frames": "5"}, "seconds", "14 frames"),
        ({"steps": "many"}, "steps", "integer"),
        ({"negative_prompt": "x"}, "negative_prompt", "not permitted"),
        ({"acceleration": "fast"}, "acceleration", "JSON"),
        ({"acceleration[preset]": "magic"}, "acceleration.preset", "lossless"),
        ({"prompt": "x" * 5000}, "prompt", "4000"),
    ],
)
def test_what_cannot_be_honoured_is_refused(client: Client, fields: dict[str, str], param: str, said: str) -> None:
    answer = client.post("/v1/videos", data=fields, files=FILE)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param
    assert said in error["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "a cat"}, "input_reference is needed"),
        ({"input_reference": "https://example.org/cat.png"}, "fetches no URLs"),
        ({"input_reference": {"file_id": "file-1"}}, "image_url"),
        ({"input_reference": "AAAA"}, "image"),
        ({"input_reference": "no base64!"}, "base64"),
    ],
)
def test_pictures_that_are_none(client: Client, body: dict[str, Any], said: str) -> None:
    answer = client.post("/v1/videos", json=body)
    assert answer.status_code == 400, answer.text
    assert said in str(answer.json()["error"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"\xff", "application/json"),
        (b'{"prompt": "\\ud800"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"x", "multipart/form-data"),
    ],
)
def test_bodies_that_are_none(client: Client, body: bytes, kind: str) -> None:
    answer = client.post("/v1/videos", content=body, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


def test_progress_and_deleting_what_runs(serve: Serve) -> None:
    with serve(dummy_step_s=0.05) as client:
        made = client.post("/v1/videos", data=LONG, files=FILE).json()
        seen = []
        while len(seen) < 4:
            now = client.get(f"/v1/videos/{made['id']}").json()
            if now["status"] == "in_progress" and now["progress"] not in seen:
                seen.append(now["progress"])
            time.sleep(0.01)
        assert seen == sorted(seen)
        assert 0 < seen[-1] < 50
        early = client.get(f"/v1/videos/{made['id']}/content")
        assert (early.status_code, early.json()["error"]["code"]) == (409, "conflict")
        answer = client.delete(f"/v1/videos/{made['id']}")
        assert answer.json() == {"id": made["id"], "object": "video.deleted", "deleted": True}
        assert client.get(f"/v1/videos/{made['id']}").status_code == 404
        assert client.get(f"/v1/jobs/{made['id']}").status_code == 404


def test_a_canceled_clip_has_failed(serve: Serve) -> None:
    with serve(dummy_step_s=0.05) as client:
        made = client.post("/v1/videos", data=LONG, files=FILE).json()
        client.post(f"/v1/jobs/{made['id']}/cancel")
        done = until_done(client, made["id"])
        assert (done["status"], done["error"]["code"]) == ("failed", "canceled")


def test_lists_have_clips_only(serve: Serve) -> None:
    with serve() as client:
        made = [client.post("/v1/videos", data={"steps": "2"}, files=FILE).json()["id"] for _ in range(5)]
        picture = client.job(steps=2)["id"]
        for job in (*made, picture):
            client.until_done(job)
        with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none") as ai, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            assert [video.id for video in ai.videos.list(limit=2)] == made[::-1]  # type: ignore[deprecated]
        page = client.get("/v1/videos", params={"limit": 2}).json()
        assert (page["first_id"], page["last_id"], page["has_more"]) == (made[-1], made[-2], True)
        assert client.get("/v1/videos", params={"after": made[0]}).json()["data"] == []
        for path in (f"/v1/videos/{picture}", f"/v1/videos/{picture}/content"):
            assert client.get(path).status_code == 404
        assert client.delete(f"/v1/videos/{picture}").status_code == 404
        assert client.look(picture)["status"] == "succeeded"


def test_keys_see_their_own_clips(serve: Serve) -> None:
    keys = (ApiKey.of("one", "first"), ApiKey.of("two", "second"))
    with serve(api_keys=keys) as client:
        one, two = ({"Authorization": f"Bearer {text}"} for text in ("first", "second"))
        assert client.post("/v1/videos", files=FILE).json()["error"]["type"] == "authentication_error"
        made = client.post("/v1/videos", data={"steps": "2"}, files=FILE, headers=one).json()["id"]
        for path in (f"/v1/videos/{made}", f"/v1/videos/{made}/content"):
            assert client.get(path, headers=two).status_code == 404
        assert client.delete(f"/v1/videos/{made}", headers=two).status_code == 404
        assert client.get("/v1/videos", headers=two).json()["data"] == []
        assert client.get(f"/v1/videos/{made}", headers=one).status_code == 200
