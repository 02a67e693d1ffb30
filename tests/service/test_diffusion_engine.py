"""The service with the demo models: what a job gets is what the command line would make."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import Client, serving

from skipstep.engine import ImageEngine, ImageRequest, load_model
from skipstep.engine.metrics import image_psnr

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning"),
]
SMALL: dict[str, Any] = {
    "kind": "image",
    "prompt": "a fox on a blue background",
    "width": 64,
    "height": 64,
    "steps": 12,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, engine="skipstep", models={"demo": "demo", "demo-svd": "demo-svd"}) as client:
        yield client


@pytest.fixture(scope="module")
def engine() -> ImageEngine:
    return ImageEngine(load_model("demo"))


def accepted(client: Client, **body: Any) -> str:
    answer = client.post("/v1/jobs", json={**SMALL, **body})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def picture(client: Client, output: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(client.get(output["url"]).content))


def test_pictures_that_share_a_batch_are_those_drawn_alone(client: Client, engine: ImageEngine) -> None:
    bodies = [
        {"seed": seed, "steps": 12 + seed, "guidance_scale": 2.0 + seed, "prompt": f"a {thing} on a blue background"}
        for seed, thing in enumerate(("fox", "red apple", "frog", "rocket"))
    ]
    jobs = [accepted(client, **body) for body in bodies]
    done = [client.until_done(job) for job in jobs]
    assert max(job["report"]["batch"] for job in done) > 1
    for job, body in zip(done, bodies, strict=True):
        assert job["status"] == "succeeded", job
        alone = engine.generate(ImageRequest(width=64, height=64, **body)).image  # type: ignore[arg-type]
        ours = picture(client, job["outputs"][0])
        assert np.abs(np.asarray(ours, np.int16) - np.asarray(alone, np.int16)).max() <= 1
        (report,) = job["report"]["images"]
        assert report["full_passes"] + report["reuse_passes"] == body["steps"]


def test_the_file_says_how_it_was_made(client: Client) -> None:
    job = client.until_done(accepted(client, seed=3))
    texts = picture(client, job["outputs"][0]).info
    assert "Seed: 3" in texts["parameters"]
    assert json.loads(texts["skipstep"])["request"]["prompt"] == SMALL["prompt"]


def test_comparing(client: Client) -> None:
    job = client.until_done(accepted(client, seed=1, compare=True, steps=20))
    assert [output["name"] for output in job["outputs"]] == ["0.png", "0-baseline.png"]
    cached, baseline = (picture(client, output) for output in job["outputs"])
    (report,) = job["report"]["images"]
    assert report["comparison"]["psnr_db"] == pytest.approx(image_psnr(baseline, cached))
    assert report["comparison"]["loop_speedup"] > 1
    assert job["report"]["batch"] == 1


def test_a_job_may_begin_with_a_picture(client: Client) -> None:
    first = client.until_done(accepted(client, seed=2))
    data = client.get(first["outputs"][0]["url"]).content
    job = client.until_done(accepted(client, seed=2, image=base64.b64encode(data).decode(), strength=0.3, steps=30))
    assert job["status"] == "succeeded"
    assert len(job["report"]["images"][0]["passes"]) == 9
    assert image_psnr(Image.open(io.BytesIO(data)).convert("RGB"), picture(client, job["outputs"][0])) > 15


def test_a_clip(client: Client) -> None:
    first = client.until_done(accepted(client, seed=2))
    data = base64.b64encode(client.get(first["outputs"][0]["url"]).content).decode()
    body = {"kind": "video", "image": data, "width": 64, "height": 64, "frames": 3, "steps": 10, "format": "webp"}
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job = client.until_done(answer.json()["id"], timeout_s=120)
    assert job["status"] == "succeeded", job
    clip = picture(client, job["outputs"][0])
    assert clip.n_frames == 3  # type: ignore[attr-defined]
    assert clip.size == (64, 64)


def test_previews_come_with_the_events(client: Client) -> None:
    job = accepted(client, seed=4, steps=40, previews=True)
    previews = [event["data"] for event in client.events(job) if event["event"] == "preview"]
    assert previews
    assert Image.open(io.BytesIO(base64.b64decode(previews[0]["data"]))).format == "JPEG"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"acceleration": {"preset": "fast", "cache": {"interval": 2}}}, "preset and cache, which contradict"),
        ({"acceleration": {"plan": "mine"}}, "this server has none"),
        ({"acceleration": {"cache": {"branch": 12}}}, "branch"),
        ({"model": "demo-svd"}, "model must be one of demo for image jobs"),
        ({"loras": [{"name": "x"}]}, "has no LoRAs"),
        ({"strength": 0.5}, "strength is for a picture to begin with"),
        ({"image": "AAAA"}, "image is not a picture"),
        ({"image": "!"}, "image must be a picture in base64"),
        ({"width": 2048, "height": 2048, "steps": 1000, "n": 8}, "ask for less"),
    ],
)
def test_bad_input_is_refused_before_it_is_accepted(client: Client, body: dict[str, Any], message: str) -> None:
    answer = client.post("/v1/jobs", json={**SMALL, **body})
    if answer.status_code == 202:  # known only by the model
        job = client.until_done(answer.json()["id"])
        assert job["status"] == "failed"
        assert message in job["error"]["message"]
        assert job["error"]["code"] == "cannot_run"
    else:
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]


def test_files_of_a_picture_that_came_with_a_job_are_not_outputs(client: Client) -> None:
    first = client.until_done(accepted(client, seed=2))
    data = base64.b64encode(client.get(first["outputs"][0]["url"]).content).decode()
    job = client.until_done(accepted(client, image=data))
    assert client.get(f"/v1/jobs/{job['id']}/outputs/input.png").status_code == 404


@pytest.mark.filterwarnings("ignore::skipstep.errors.IgnoredInputWarning")
def test_what_has_no_effect_is_said(client: Client) -> None:
    job = client.until_done(accepted(client, prompt="a fox and a zeppelin", negative_prompt="blue", guidance_scale=1))
    negative, words = job["report"]["images"][0]["warnings"]
    assert negative == "the negative prompt has no effect at guidance 1; use more than 1"
    assert words.startswith("the demo model does not know: zeppelin")
    job = client.until_done(accepted(client))
    assert job["report"]["images"][0]["warnings"] == []
