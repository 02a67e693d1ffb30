"""OpenAI's own client against /v1/images/generations and /v1/models."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import httpx
import openai
import pytest
from conftest import Serve
from PIL import Image
from served import Client
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.jobs.accepting import new_row
from skipstep_service.jobs.bodies import ImageJob
from skipstep_service.jobs.live import LiveJob
from skipstep_service.routes.openai_streams import Spread
from skipstep_service.routes.waiting import Awaited, events_of
from skipstep_service.settings import ApiKey

PROMPT = "a red apple"


def openai_of(client: Client, *, key: str = "none", **options: Any) -> openai.OpenAI:
    """OpenAI's client of a server of ours."""
    return openai.OpenAI(base_url=f"{client.base_url}/v1", api_key=key, max_retries=0, **options)


@pytest.fixture(scope="module")
def ai(client: Client) -> Iterator[openai.OpenAI]:
    """OpenAI's client of the quick server."""
    with openai_of(client) as found:
        yield found


def test_a_picture(ai: openai.OpenAI, client: Client) -> None:
    made = ai.images.generate(prompt=PROMPT, size="64x48", extra_body={"seed": 7, "steps": 5})
    (picture,) = made.data or []
    assert base64.b64decode(picture.b64_json or "") == dummy_bytes(PROMPT, 7)
    assert made.output_format == "png"
    assert abs(made.created - time.time()) < 60
    job = client.look(made.model_extra["job_id"])  # type: ignore[index]
    assert job["status"] == "succeeded"
    asked = job["request"]
    assert (asked["width"], asked["height"], asked["steps"], asked["seed"]) == (64, 48, 5, 7)


def test_our_fields_reach_the_job(ai: openai.OpenAI, client: Client) -> None:
    ours = {
        "steps": 4,
        "seed": 9,
        "guidance_scale": 3.5,
        "negative_prompt": "blurry",
        "sampler": "heun",
        "acceleration": {"preset": "quality"},
        "priority": "interactive",
        "timeout_s": 30.5,
    }
    made = ai.images.generate(prompt=PROMPT, model="dummy", user="me", moderation="low", extra_body=ours)
    asked = client.look(made.model_extra["job_id"])["request"]  # type: ignore[index]
    assert {name: asked[name] for name in ours if name != "acceleration"} == {
        name: value for name, value in ours.items() if name != "acceleration"
    }
    assert asked["acceleration"]["preset"] == "quality"
    assert asked["previews"] is False


@pytest.mark.parametrize(
    ("quality", "preset"), [("low", "fast"), ("medium", "balanced"), ("high", "quality"), ("auto", None)]
)
def test_quality_is_a_preset(ai: openai.OpenAI, client: Client, quality: Any, preset: str | None) -> None:
    made = ai.images.generate(prompt=PROMPT, quality=quality, extra_body={"steps": 2})
    assert client.look(made.model_extra["job_id"])["request"]["acceleration"]["preset"] == preset  # type: ignore[index]


def test_two_pictures_as_urls(ai: openai.OpenAI, client: Client) -> None:
    made = ai.images.generate(
        prompt=PROMPT, n=2, response_format="url", output_format="webp", extra_body={"seed": 3, "steps": 2}
    )
    pictures = made.data or []
    assert [picture.b64_json for picture in pictures] == [None, None]
    files = [client.get(picture.url or "") for picture in pictures]
    assert [file.content for file in files] == [dummy_bytes(PROMPT, 3), dummy_bytes(PROMPT, 4)]
    assert {file.headers["content-type"] for file in files} == {"image/webp"}


def test_two_pictures_in_base64(ai: openai.OpenAI) -> None:
    made = ai.images.generate(prompt=PROMPT, n=2, extra_body={"seed": 3, "steps": 2})
    expected = [dummy_bytes(PROMPT, 3), dummy_bytes(PROMPT, 4)]
    assert [base64.b64decode(picture.b64_json or "") for picture in made.data or []] == expected


@pytest.mark.parametrize(
    ("options", "param", "said"),
    [
        ({"model": "gpt-image-1"}, "model", "its models for images are dummy"),
        ({"model": "dummy-video"}, "model", "its models for images are dummy"),
        ({"model": "../etc/passwd"}, "model", "its models for images are dummy"),
        ({"size": "big"}, "size", "WIDTHxHEIGHT"),
        ({"size": "100x100"}, "size", "use 96x96"),
        ({"size": "8x8"}, "width", "32"),
        ({"size": "8192x64"}, "width", "4096"),
        ({"n": 9}, "n", "8"),
        ({"background": "transparent"}, "background", "opaque"),
        ({"style": "vivid"}, "style", "prompt"),
        ({"output_format": "svg"}, "output_format", "'jpeg'"),
        ({"output_compression": 50}, "output_compression", "leave it out"),
        ({"quality": "hd"}, "quality", "'high'"),
        ({"quality": "low", "extra_body": {"acceleration": {"preset": "fast"}}}, "quality", "give one"),
        ({"partial_images": 2}, "partial_images", "stream"),
        ({"stream": True, "partial_images": 4}, "partial_images", "3"),
        ({"stream": True, "n": 2}, "n", "one picture"),
        ({"extra_body": {"steps": 0}}, "steps", "1"),
        ({"extra_body": {"guidance_scale": 51}}, "guidance_scale", "50"),
        ({"extra_body": {"sampler": "magic"}}, "sampler", "euler"),
        ({"extra_body": {"magic": 1}}, "magic", "not permitted"),
    ],
)
def test_what_cannot_be_honoured_is_refused(ai: openai.OpenAI, options: Any, param: str, said: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ai.images.generate(prompt=PROMPT, **options)
    error = caught.value
    assert error.param == param
    assert said in error.message
    assert error.type == "invalid_request_error"
    assert error.code == ("model_not_found" if param == "model" else "invalid_request")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"prompt": "\\ud800"}', b'{"prompt": "x", "seed": 1e999}'])
def test_bodies_that_are_none(client: Client, body: bytes) -> None:
    answer = client.post("/v1/images/generations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


def test_auto_is_the_server_s_own(ai: openai.OpenAI, client: Client) -> None:
    made = ai.images.generate(prompt=PROMPT, model="auto", size="auto", extra_body={"steps": 2})
    asked = client.look(made.model_extra["job_id"])["request"]  # type: ignore[index]
    assert (asked["model"], asked["width"], asked["height"]) == ("dummy", None, None)


def test_models(ai: openai.OpenAI, client: Client) -> None:
    listed = list(ai.models.list())
    assert [model.id for model in listed] == ["dummy", "dummy-video"]
    assert {(model.object, model.owned_by) for model in listed} == {("model", "skipstep")}
    own = client.get("/v1/models").json()["models"]
    assert [(model["name"], model["kind"]) for model in own] == [("dummy", "image"), ("dummy-video", "video")]


def test_keys(serve: Serve) -> None:
    with serve(api_keys=(ApiKey.of("me", "secret"), ApiKey.of("meter", "other", scopes=("metrics",)))) as client:
        for key, error in (("wrong", openai.AuthenticationError), ("other", openai.PermissionDeniedError)):
            with openai_of(client, key=key) as ai, pytest.raises(error) as caught:
                ai.images.generate(prompt=PROMPT)
            assert key not in caught.value.message
            assert caught.value.code in ("unauthorized", "forbidden")
        with openai_of(client, key="secret") as ai:
            made = ai.images.generate(prompt=PROMPT, response_format="url", extra_body={"steps": 2, "seed": 1})
            url = (made.data or [])[0].url or ""
            assert client.get(url).status_code == 401
            mine = client.get(url, headers={"Authorization": "Bearer secret"})
            assert mine.content == dummy_bytes(PROMPT, 1)


def test_a_stream_with_partial_pictures(serve: Serve) -> None:
    with serve(dummy_step_s=0.06) as client, openai_of(client) as ai:
        stream = ai.images.generate(
            prompt=PROMPT, stream=True, partial_images=2, size="64x64", extra_body={"seed": 4, "steps": 24}
        )
        events = [(time.monotonic(), event) for event in stream]
    kinds = [event.type for _, event in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.partial_image_index for _, event in events[:2]] == [0, 1]  # type: ignore[union-attr]
    for _, event in events[:2]:
        assert Image.open(io.BytesIO(base64.b64decode(event.b64_json))).format == event.output_format.upper() == "JPEG"
    assert events[0][1].b64_json != events[1][1].b64_json
    last = events[-1][1]
    assert base64.b64decode(last.b64_json) == dummy_bytes(PROMPT, 4)
    assert (last.size, last.output_format, last.background) == ("64x64", "png", "opaque")
    assert last.usage.total_tokens == 0  # type: ignore[union-attr]
    assert events[-1][0] - events[0][0] > 0.3  # they came while it was drawn


def test_a_stream_without_partial_pictures(ai: openai.OpenAI, client: Client) -> None:
    (event,) = ai.images.generate(prompt=PROMPT, stream=True, extra_body={"seed": 4, "steps": 3})
    assert event.type == "image_generation.completed"
    assert client.look(event.model_extra["job_id"])["request"]["previews"] is False  # type: ignore[index]


@pytest.mark.parametrize(("wanted", "shown"), [(0, []), (1, [9]), (2, [6, 13]), (3, [4, 9, 14])])
def test_partial_pictures_are_spread(wanted: int, shown: list[int]) -> None:
    spread = Spread(wanted, steps=20)
    assert [step for step in range(20) if spread.takes(step)] == shown


def test_late_previews_are_not_shown_for_earlier_ones() -> None:
    spread = Spread(3, steps=20)
    assert [step for step in (0, 12, 13, 16) if spread.takes(step)] == [12, 16]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("waits", [False, True])
def test_a_client_that_leaves_cancels_its_job(serve: Serve, stream: bool, waits: bool) -> None:
    with serve(dummy_step_s=0.05, max_rows=1) as client, openai_of(client, timeout=0.5) as ai:
        first = client.job(steps=60)["id"] if waits else None
        with pytest.raises((openai.APITimeoutError, httpx.TimeoutException)):
            list(ai.images.generate(prompt=PROMPT, stream=stream, extra_body={"steps": 400}))  # type: ignore[call-overload]
        left = time.monotonic()
        (job,) = [one for one in client.get("/v1/jobs").json()["jobs"] if one["id"] != first]
        assert client.until_done(job["id"], timeout_s=5)["status"] == "canceled"
        assert time.monotonic() - left < 2
        if first is not None:
            assert client.until_done(first)["status"] == "succeeded"


def test_an_idempotency_key_gives_the_same_pictures(ai: openai.OpenAI) -> None:
    headers = {"Idempotency-Key": "pictures"}
    one, other = (ai.images.generate(prompt=PROMPT, extra_body={"steps": 2}, extra_headers=headers) for _ in range(2))
    assert one == other
    (event,) = ai.images.generate(
        prompt="another", stream=True, extra_body={"steps": 2}, extra_headers={"Idempotency-Key": "stream"}
    )
    (again,) = ai.images.generate(
        prompt="another", stream=True, extra_body={"steps": 2}, extra_headers={"Idempotency-Key": "stream"}
    )
    assert event == again


def test_a_client_that_leaves_does_not_cancel_for_another(serve: Serve) -> None:
    with serve(dummy_step_s=0.05) as client, openai_of(client, timeout=0.3) as ai, ThreadPoolExecutor(1) as pool:
        headers, asked = {"Idempotency-Key": "shared"}, {"steps": 30, "seed": 2}
        first = pool.submit(
            client.post, "/v1/images/generations", json={"prompt": PROMPT, **asked}, headers=headers, timeout=30
        )
        while not (jobs := client.get("/v1/jobs").json()["jobs"]):
            time.sleep(0.01)
        with pytest.raises(openai.APITimeoutError):
            ai.images.generate(prompt=PROMPT, extra_body=asked, extra_headers=headers)
        assert first.result().json()["job_id"] == jobs[0]["id"]
        assert base64.b64decode(first.result().json()["data"][0]["b64_json"]) == dummy_bytes(PROMPT, 2)


def test_jobs_that_end_without_a_picture(serve: Serve) -> None:
    with serve(dummy_step_s=0.05) as client, openai_of(client) as ai:
        with pytest.raises(openai.InternalServerError) as late:
            ai.images.generate(prompt=PROMPT, extra_body={"steps": 400, "timeout_s": 0.2})
        assert (late.value.status_code, late.value.code) == (504, "deadline")
        assert late.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(openai.APIError) as told:
            list(ai.images.generate(prompt=PROMPT, stream=True, extra_body={"steps": 400, "timeout_s": 0.2}))
        assert told.value.code == "deadline"


def test_the_server_answers_others_while_a_client_waits(serve: Serve) -> None:
    with serve(dummy_step_s=0.1) as client, openai_of(client) as ai:
        stream = ai.images.generate(prompt=PROMPT, stream=True, extra_body={"steps": 10})
        started = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 0.5
        assert [event.type for event in stream] == ["image_generation.completed"]


def test_a_stream_tells_that_it_lives() -> None:
    row, _ = new_row(ImageJob(kind="image", prompt="x"), owner="", model="m", timeout_s=9, idempotency_key=None)
    live = LiveJob(row)

    async def follow() -> list[str | None]:
        seen: list[str | None] = []
        async for event in events_of(Awaited(service=Mock(), row=row, live=live, is_own=True), pause_s=0.01):
            seen.append(None if event is None else event.kind)
            if len(seen) == 2:
                live.tell("progress", image=0)
                live.tell("status", status="canceled")
        return seen

    assert asyncio.run(follow()) == [None, None, "progress", "status"]
