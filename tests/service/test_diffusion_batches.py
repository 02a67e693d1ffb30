"""What shares a batch and what does not, with the demo model: LoRAs, compiled sizes, memory that runs out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Serve
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from safetensors.torch import save_file
from served import Client, serving
from skipstep_service.engines import models

from skipstep.deepcache import live_split
from skipstep.engine import ImageEngine, ImageRequest, load_model

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::skipstep.errors.FewStepsWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning"),
]
SMALL: dict[str, Any] = {"prompt": "a fox on a blue background", "width": 64, "height": 64, "steps": 12}


@pytest.fixture(scope="module")
def loras(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two LoRAs of the demo's UNet that change every picture, and one more that will be cut off."""
    folder, made = tmp_path_factory.mktemp("loras"), {}
    for seed, name in enumerate(("wild", "mild")):
        unet = load_model("demo").pipe.unet
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"]))
        save_file(
            {f"unet.{key}": weight.contiguous() for key, weight in get_peft_model_state_dict(unet).items()},
            folder / f"{name}.safetensors",
        )
        made[name] = str(folder / f"{name}.safetensors")
    broken = folder / "broken.safetensors"
    broken.write_bytes((folder / "wild.safetensors").read_bytes())
    return {**made, "broken": str(broken)}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, loras: dict[str, str]) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("service")
    with serving(folder, engine="skipstep", models={"demo": "demo"}, loras=loras) as client:
        broken = Path(loras["broken"])
        broken.write_bytes(broken.read_bytes()[:-100])  # a server does not start with such a file
        yield client


@pytest.fixture(scope="module")
def engine() -> ImageEngine:
    return ImageEngine(load_model("demo"))


def pixels(client: Client, job: dict[str, Any]) -> np.ndarray[Any, Any]:
    assert job["status"] == "succeeded", job
    return np.asarray(Image.open(io.BytesIO(client.get(job["outputs"][0]["url"]).content)), np.int16)


def alone(engine: ImageEngine, **options: Any) -> np.ndarray[Any, Any]:
    return np.asarray(engine.generate(ImageRequest(**{**SMALL, **options})).image, np.int16)


def test_each_request_has_its_own_loras(client: Client, engine: ImageEngine, loras: dict[str, str]) -> None:
    asked: list[list[dict[str, Any]]] = [
        [],
        [{"name": "wild"}],
        [{"name": "mild", "scale": 0.5}],
        [{"name": "broken"}],
        [{"name": "wild"}, {"name": "mild", "scale": -1.0}],
        [{"name": "wild"}],
        [],
    ]
    jobs = [client.job(**SMALL, loras=some)["id"] for some in asked]
    done = [client.until_done(job) for job in jobs]
    assert done[3]["status"] == "failed"
    assert "as a LoRA: broken.safetensors: has" in done[3]["error"]["message"]
    for some, job in zip(asked, done, strict=True):
        if job is done[3]:
            continue
        pipe = engine.model.pipe
        for index, one in enumerate(some):
            pipe.load_lora_weights(loras[one["name"]], adapter_name=str(index))
        if some:
            pipe.set_adapters([str(index) for index in range(len(some))], [one.get("scale", 1.0) for one in some])
        expected = alone(engine, seed=5)
        if some:
            pipe.unload_lora_weights()
            assert np.abs(expected - alone(engine, seed=5)).max() > 20
        assert np.abs(pixels(client, job) - expected).max() <= 1
    unknown = client.post("/v1/jobs", json={"kind": "image", **SMALL, "loras": [{"name": "none"}]})
    assert unknown.status_code == 422
    assert "wild, mild, broken" in unknown.json()["error"]["message"]


def test_adaptive_schedules_run_by_themselves(client: Client) -> None:
    adaptive = {"cache": {"tolerance": 0.2, "forecast": "linear"}}
    first = client.job(**SMALL, acceleration=adaptive)["id"]
    others = [client.job(**{**SMALL, "seed": seed}, acceleration=adaptive)["id"] for seed in range(2)]
    for job in (first, *others):
        done = client.until_done(job)
        assert done["status"] == "succeeded", done
        assert done["report"]["batch"] == 1


def test_static_batches_are_of_those_that_wait(serve: Serve, engine: ImageEngine) -> None:
    with serve(engine="skipstep", models={"demo": "demo"}, step_batching=False) as client:
        jobs = [client.job(**{**SMALL, "steps": 40, "seed": 40})["id"]]
        next(event for event in client.events(jobs[0]) if event["event"] == "progress")
        jobs += [client.job(**{**SMALL, "steps": steps, "seed": steps})["id"] for steps in (9, 10, 11)]
        done = [client.until_done(job) for job in jobs]
        assert done[0]["report"]["batch"] == 1  # nobody joined it
        assert done[1]["finished_at"] > done[0]["finished_at"]
        assert max(job["report"]["batch"] for job in done[1:]) > 1
        for job, steps in zip(done, (40, 9, 10, 11), strict=True):
            assert np.abs(pixels(client, job) - alone(engine, steps=steps, seed=steps)).max() <= 1


class Small:
    """A split whose memory holds passes of two pictures."""

    sizes: list[int]

    def __init__(self, unet: Any, branches: tuple[int, ...]) -> None:
        self._split = live_split(unet, branches)
        self.branch = branches[0]
        self.sizes = SIZES

    def full(self, sample: Any, *args: Any, **kwargs: Any) -> Any:
        self.sizes.append(len(sample))
        if len(sample) > 4:
            raise torch.OutOfMemoryError("no memory")
        return self._split.full(sample, *args, **kwargs)

    def reuse(self, features: Any, *args: Any, **kwargs: Any) -> Any:
        return self._split.reuse(features, *args, **kwargs)


SIZES: list[int] = []


def test_memory_that_runs_out_halves_batches_from_then_on(
    serve: Serve, engine: ImageEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "live_split", Small)
    SIZES.clear()
    with serve(engine="skipstep", models={"demo": "demo"}) as client:
        for _ in range(2):
            job = client.until_done(client.job(**SMALL, n=4)["id"])
            assert np.abs(pixels(client, job) - alone(engine, seed=5)).max() <= 1
    assert SIZES.count(8) == 1
    assert max(SIZES[1:]) == 4


@pytest.mark.parametrize("rows", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sizes_made_ready_are_compiled_and_others_are_not(
    serve: Serve, loras: dict[str, str], engine: ImageEngine, rows: int
) -> None:
    shape = {"model": "demo", "width": 64, "height": 64}
    options = {"compiler": "openvino", "warm_shapes": [shape], "max_rows": rows, "loras": {"wild": loras["wild"]}}
    with serve(engine="skipstep", models={"demo": "demo"}, **options) as client:
        compiled = [client.job(**{**SMALL, "seed": seed})["id"] for seed in (5, 6, 7)]
        for job, seed in zip(compiled, (5, 6, 7), strict=True):
            done = client.until_done(job)
            (report,) = done["report"]["images"]
            assert (report["compiler"], report["graph_hits"]) == ("openvino", SMALL["steps"])
            assert np.abs(pixels(client, done) - alone(engine, seed=seed)).mean() < 0.5
        for other in ({"width": 72}, {"loras": [{"name": "wild"}]}):
            (report,) = client.until_done(client.job(**{**SMALL, **other})["id"])["report"]["images"]
            assert (report["compiler"], report["graph_hits"]) == ("none", 0)
        (report,) = client.until_done(client.job(**SMALL)["id"])["report"]["images"]
        assert report["compiler"] == "openvino"
        assert report["graph_hits"] == SMALL["steps"]
