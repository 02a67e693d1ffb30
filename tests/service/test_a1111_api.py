"""/sdapi/v1 as clients of AUTOMATIC1111's web UI use it."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from conftest import Serve
from PIL import Image
from served import Client, serving
from skipstep_service.engines.dummy import dummy_bytes
from skipstep_service.routes.a1111_samplers import SAMPLERS
from skipstep_service.settings import ApiKey

from skipstep.engine.samplers import SAMPLERS as OURS

ASKED: dict[str, Any] = {
    "prompt": "a red apple",
    "negative_prompt": "blurry",
    "steps": 4,
    "cfg_scale": 6.5,
    "width": 64,
    "height": 48,
    "seed": 11,
    "sampler_name": "Euler a",
}


@pytest.fixture(scope="module")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A quick server that answers as the web UI does."""
    with serving(tmp_path_factory.mktemp("webui"), dummy_step_s=0.002, a1111=True) as client:
        yield client


def draw(client: Client, *, to: str = "txt2img", **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer and its `info`."""
    answer = client.post(f"/sdapi/v1/{to}", json={**ASKED, **options})
    assert answer.status_code == 200, answer.text
    return answer.json(), json.loads(answer.json()["info"])


def test_a_picture(webui: Client) -> None:
    made, info = draw(webui)
    assert [base64.b64decode(one) for one in made["images"]] == [dummy_bytes("a red apple", 11)]
    assert made["parameters"] == ASKED
    asked = webui.look(info["job_id"])["request"]
    assert (asked["guidance_scale"], asked["sampler"], asked["negative_prompt"]) == (6.5, "euler_a", "blurry")
    assert (asked["width"], asked["height"], asked["steps"], asked["model"]) == (64, 48, 4, "dummy")
    assert (info["seed"], info["all_seeds"], info["sampler_name"]) == (11, [11], "Euler a")
    (text,) = info["infotexts"]
    assert text.splitlines() == [
        "a red apple",
        "Negative prompt: blurry",
        "Steps: 4, Sampler: Euler a, CFG scale: 6.5, Seed: 11, Size: 64x48, Model: dummy",
    ]


def test_batches_and_drawn_seeds(webui: Client) -> None:
    made, info = draw(webui, batch_size=2, n_iter=3, seed=-1)
    assert len(made["images"]) == 6
    assert info["all_seeds"] == [info["seed"] + index for index in range(6)]
    assert draw(webui, seed=-1)[1]["seed"] != info["seed"]
    assert [base64.b64decode(one) for one in made["images"]] == [
        dummy_bytes("a red apple", seed) for seed in info["all_seeds"]
    ]


def test_what_is_left_out_is_the_model_s_own(webui: Client) -> None:
    answer = webui.post("/sdapi/v1/txt2img", json={"prompt": "x", "steps": 2})
    asked = webui.look(json.loads(answer.json()["info"])["job_id"])["request"]
    assert (asked["width"], asked["height"], asked["guidance_scale"], asked["sampler"]) == (None, None, None, "euler")


def test_a_picture_from_a_picture(webui: Client) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (1, 200, 3)).save(buffer, "PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    _, info = draw(webui, to="img2img", init_images=[encoded], denoising_strength=0.5, resize_mode=1)
    assert info["denoising_strength"] == 0.5
    for options, said in (({}, "init_images"), ({"init_images": [encoded], "resize_mode": 2}, "resize_mode")):
        answer = webui.post("/sdapi/v1/img2img", json={**ASKED, **options})
        assert answer.status_code == 422
        assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "ours"),
    [
        ("Euler", "Automatic", "euler"),
        ("euler A", None, "euler_a"),
        ("DPM++ 2M", "Karras", "dpmpp_2m_karras"),
        ("DPM++ 2M Karras", None, "dpmpp_2m_karras"),
        ("DPM++ 2M", "", "dpmpp_2m"),
        ("PLMS", None, "pndm"),
    ],
)
def test_samplers(webui: Client, sampler: str, scheduler: str | None, ours: str) -> None:
    _, info = draw(webui, sampler_name=sampler, scheduler=scheduler)
    assert webui.look(info["job_id"])["request"]["sampler"] == ours


def test_all_samplers_have_a_name() -> None:
    assert sorted(SAMPLERS.values()) == sorted(OURS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler_name": "DPM adaptive"}, "sampler_name must be one of Euler, Euler a"),
        ({"scheduler": "Exponential"}, "scheduler must be Automatic"),
        ({"sampler_name": "Heun", "scheduler": "Karras"}, "scheduler must be Automatic"),
        ({"override_settings": {"sd_model_checkpoint": "v1-5"}}, "its models for images are dummy"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, "sd_model_checkpoint and nothing else"),
        ({"enable_hr": True}, "enable_hr cannot be honoured"),
        ({"restore_faces": True}, "restore_faces cannot be honoured"),
        ({"subseed_strength": 0.5}, "subseed_strength cannot be honoured"),
        ({"alwayson_scripts": {"controlnet": {}}}, "alwayson_scripts cannot be honoured"),
        ({"send_images": False}, "send_images cannot be honoured"),
        ({"magic": 1}, "magic is not known"),
        ({"batch_size": 4, "n_iter": 3}, "may be 8, got 12"),
        ({"width": 100}, "width"),
        ({"steps": 0}, "steps"),
        ({"cfg_scale": 1e9}, "guidance_scale"),
        ({"seed": -2}, "seed"),
    ],
)
def test_what_cannot_be_honoured_is_refused(webui: Client, options: dict[str, Any], said: str) -> None:
    answer = webui.post("/sdapi/v1/txt2img", json={**ASKED, **options})
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert set(answer.json()) == {"error", "detail", "body", "errors"}


def test_what_clients_send_without_meaning_it(webui: Client) -> None:
    usual = {"styles": [], "subseed": 5, "subseed_strength": 0, "restore_faces": False, "tiling": False}
    usual |= {"enable_hr": False, "hr_scale": 2, "alwayson_scripts": {}, "script_name": None, "send_images": True}
    usual |= {"eta": None, "s_noise": 1.0, "override_settings": {"sd_model_checkpoint": "dummy"}, "comments": {}}
    made, _ = draw(webui, **usual)
    assert len(made["images"]) == 1


def test_loras_of_the_prompt(webui: Client) -> None:
    _, info = draw(webui, prompt="a red <lora:paint:0.7>apple <lora:ink>")
    asked = webui.look(info["job_id"])["request"]
    assert asked["prompt"] == "a red apple"
    assert asked["loras"] == [{"name": "paint", "scale": 0.7}, {"name": "ink", "scale": 1.0}]
    for prompt in ("x <hypernet:old:1>", "x <lora:paint:much>", "x <lora:../x:1>", "x <lora:paint:1.2.3>"):
        assert webui.post("/sdapi/v1/txt2img", json={**ASKED, "prompt": prompt}).status_code == 422


def test_lists(webui: Client) -> None:
    names = [one["name"] for one in webui.get("/sdapi/v1/samplers").json()]
    assert "DPM++ 2M Karras" in names
    assert [one["model_name"] for one in webui.get("/sdapi/v1/sd-models").json()] == ["dummy"]
    assert webui.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "dummy"
    assert webui.post("/sdapi/v1/options", json={"sd_model_checkpoint": "dummy"}).status_code == 405


def test_progress_and_interrupt(serve: Serve) -> None:
    with serve(dummy_step_s=0.05, a1111=True) as client, ThreadPoolExecutor(1) as pool:
        idle = client.get("/sdapi/v1/progress").json()
        assert (idle["progress"], idle["current_image"], idle["state"]["job_count"]) == (0, None, 0)
        assert client.post("/sdapi/v1/interrupt").json() == {}
        drawn = pool.submit(draw, client, steps=400)
        while (now := client.get("/sdapi/v1/progress").json())["state"]["sampling_step"] < 4:
            time.sleep(0.01)
        assert now["state"]["sampling_steps"] == 400
        assert now["progress"] == pytest.approx(now["state"]["sampling_step"] / 400, abs=1e-4)
        assert 10 < now["eta_relative"] < 60  # 396 evaluations of 50 ms, on a machine that may be slow
        assert Image.open(io.BytesIO(base64.b64decode(now["current_image"]))).size == (16, 16)
        lean = client.get("/sdapi/v1/progress", params={"skip_current_image": True}).json()
        assert lean["current_image"] is None
        client.post("/sdapi/v1/interrupt")
        made, info = drawn.result(timeout=10)
        assert (made["images"], info["interrupted"]) == ([], True)
        assert client.look(info["job_id"])["status"] == "canceled"
        assert client.get("/sdapi/v1/progress").json()["state"]["job_count"] == 0


def test_a_client_that_leaves_cancels_its_job(serve: Serve) -> None:
    with serve(dummy_step_s=0.05, a1111=True) as client:
        with pytest.raises(httpx.TimeoutException):
            client.post("/sdapi/v1/txt2img", json={**ASKED, "steps": 400}, timeout=2)
        (job,) = client.get("/v1/jobs").json()["jobs"]
        assert client.until_done(job["id"], timeout_s=5)["status"] == "canceled"
        assert client.get("/sdapi/v1/progress").json()["state"]["job_count"] == 0


def test_keys_and_owners(serve: Serve) -> None:
    keys = (ApiKey.of("one", "first"), ApiKey.of("two", "second"), ApiKey.of("meter", "m", scopes=("metrics",)))
    with serve(api_keys=keys, a1111=True, dummy_step_s=0.05) as client, ThreadPoolExecutor(1) as pool:
        url = "/sdapi/v1/progress"
        refused = client.get(url)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        for auth in (("one", "wrong"), ("two", "first"), ("", "first")):
            assert client.get(url, auth=auth).status_code == 401
        assert client.get(url, headers={"Authorization": "Basic nonsense"}).status_code == 401
        assert client.get(url, auth=("meter", "m")).status_code == 403
        assert client.get(url, headers={"Authorization": "Bearer second"}).status_code == 200
        drawn = pool.submit(client.post, "/sdapi/v1/txt2img", json={**ASKED, "steps": 30}, auth=("one", "first"))
        while client.get(url, auth=("one", "first")).json()["state"]["job_count"] == 0:
            time.sleep(0.01)
        assert client.get(url, auth=("two", "second")).json()["state"]["job_count"] == 0
        client.post("/sdapi/v1/interrupt", auth=("two", "second"))  # has nothing to end
        assert len(drawn.result().json()["images"]) == 1


def test_it_is_off_unless_set(client: Client) -> None:
    assert client.post("/sdapi/v1/txt2img", json=ASKED).status_code == 404
