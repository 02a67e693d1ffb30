"""The workflows that ship with the pack, queued over HTTP: each draws its pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import get_args

import numpy as np
import pytest
from check_picture import problem
from comfy_host.base import PackLink
from host.client import ComfyClient, Graph, Outcome
from host.servers import Servers
from host.workflows import BY_LENGTH, FOLDER, NAMES, api_graph, nodes_of, ui_workflow
from PIL import Image

PICTURES = {  # what is seen in the pictures of a workflow, by node
    "sdxl_baseline_vs_cached": {"7": "apple", "12": "apple"},
    "sdxl_compile_and_cache": {"7": "rocket", "13": "rocket"},
    "sdxl_img2img": {"7": "apple", "14": "strawberry"},
    "sdxl_lora_controlnet": {"10": None, "17": "fox"},
    "sdxl_plan": {"9": "cat"},
    "sdxl_prompt_expand": {"11": "butterfly"},
    "svd_image_to_video": {"7": "frog", "15": "frog"},
}
CALLS = re.compile(r"UNet calls: (\d+) = (\d+) full \+ (\d+) reuse")
ALIKE = 30.0  # dB; 37.8 was measured
RUN_S = 1200.0  # a minute on a free core, and far more on a busy one

Ran = Callable[[str], Outcome]

pytestmark = [pytest.mark.timeout(RUN_S), pytest.mark.usefixtures("workflow_files")]


@pytest.fixture(scope="module")
def ran(servers: Servers) -> Iterator[Ran]:
    """What a workflow gave, from one run for all tests."""
    with ComfyClient(servers.get("repository").url) as client:
        yield cache(lambda name: client.run(api_graph(name), timeout_s=RUN_S))


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(opened(data).convert("RGB"), np.float64)


def psnr(one: bytes, other: bytes) -> float:
    """Of pixels of 8 bits, in dB."""
    error = np.mean((pixels(one) - pixels(other)) ** 2)
    return float(10 * np.log10(255**2 / error))


def test_there_is_one_file_of_each_format() -> None:
    assert set(NAMES) == set(PICTURES) == {path.stem for path in (FOLDER / "api").glob("*.json")}


@pytest.mark.whole
@pytest.mark.parametrize("name", BY_LENGTH)
def test_a_workflow_draws_its_pictures(ran: Ran, name: str) -> None:
    outcome = ran(name)
    assert outcome.status == "success", outcome.error
    for node, subject in PICTURES[name].items():
        (data,) = outcome.files[node]
        if subject is not None:
            assert problem(opened(data), subject) is None


@pytest.mark.parametrize("name", BY_LENGTH)
def test_its_report_counts_reuse_passes(ran: Ran, name: str) -> None:
    graph = api_graph(name)
    (report,) = nodes_of(graph, "SkipstepReport")
    (sampler,) = (graph[node] for node in [graph[report]["inputs"]["latent"][0]])
    (text,) = ran(name).outputs[report]["text"]
    found = CALLS.search(text)
    assert found is not None, text
    calls, full, reuse = map(int, found.groups())
    assert calls == full + reuse == sampler["inputs"]["steps"]
    assert reuse >= full


def test_the_cached_picture_is_nearly_the_baseline(ran: Ran) -> None:
    outcome = ran("sdxl_baseline_vs_cached")
    (baseline,), (cached,), (difference,) = (outcome.files[node] for node in ("7", "12", "14"))
    assert ALIKE < psnr(baseline, cached) < 70
    assert 0.5 < pixels(difference).mean() < 30  # of 255
    (text,) = outcome.outputs["13"]["text"]
    assert "times as fast" in text
    told = re.search(r"PSNR ([\d.]+) dB, SSIM (0\.\d+)", text)
    assert told is not None, text
    assert float(told[1]) == pytest.approx(psnr(baseline, cached), abs=0.2)


@pytest.mark.long
def test_compiling_changes_a_picture_by_rounding_only(ran: Ran, servers: Servers, client: ComfyClient) -> None:
    outcome = ran("sdxl_compile_and_cache")
    log = servers.get("repository").text()
    assert all(f"compiling inductor: {kind} pass" in log for kind in ("full", "reuse"))
    assert "CompileFallbackWarning" not in log
    graph = changed(api_graph("sdxl_compile_and_cache"), "9", backend="eager")
    (uncompiled,) = client.run(graph, timeout_s=RUN_S).files["13"]
    (baseline,), (compiled,) = (outcome.files[node] for node in ("7", "13"))
    assert np.abs(pixels(compiled) - pixels(uncompiled)).max() <= 1
    assert np.abs(pixels(compiled) - pixels(baseline)).max() > 1  # of 255


def test_the_second_picture_of_img2img_has_the_colours_of_the_first(ran: Ran) -> None:
    outcome = ran("sdxl_img2img")
    (first,), (second,) = outcome.files["7"], outcome.files["14"]
    corner = (slice(0, 16), slice(0, 16))
    assert np.abs(pixels(first)[corner].mean((0, 1)) - pixels(second)[corner].mean((0, 1))).max() < 40
    assert psnr(first, second) < ALIKE


@pytest.mark.long
def test_the_clip_moves(ran: Ran) -> None:
    (data,) = ran("svd_image_to_video").files["15"]
    clip = opened(data)
    assert clip.n_frames == 14
    frames = []
    for index in range(clip.n_frames):
        clip.seek(index)
        frames.append(np.asarray(clip.convert("RGB"), np.float64))
    assert all(np.abs(frame - frames[0]).mean() > 0.5 for frame in frames[1:])
    clip.seek(clip.n_frames - 1)
    assert problem(clip, None) is None


def test_the_expanded_prompt_and_its_negative_are_drawn(ran: Ran, client: ComfyClient) -> None:
    (drawn,) = ran("sdxl_prompt_expand").files["11"]
    (text,) = ran("sdxl_prompt_expand").outputs["3"]["text"]
    prompt, info = text.split("\n\n")
    assert prompt.startswith("a butterfly on a yellow background, ")
    negative = re.search("^negative: (.+)$", info, re.MULTILINE)
    assert negative is not None
    graph = api_graph("sdxl_prompt_expand")
    assert [graph[node]["inputs"]["text"] for node in ("4", "5")] == [["3", 0], ["3", 2]]
    graph["4"]["inputs"]["text"], graph["5"]["inputs"]["text"] = prompt, negative[1]
    (typed,) = client.run(graph, timeout_s=RUN_S).files["11"]
    assert np.array_equal(pixels(typed), pixels(drawn))
    graph["4"]["inputs"]["text"] = "a butterfly on a yellow background"
    (plain,) = client.run(graph, timeout_s=RUN_S).files["11"]
    assert not np.array_equal(pixels(plain), pixels(drawn))


def test_lora_and_controlnet_are_in_the_picture(ran: Ran, client: ComfyClient) -> None:
    (drawn,) = ran("sdxl_lora_controlnet").files["17"]
    for node, off in (("5", {"strength_model": 0.0}), ("12", {"strength": 0.0})):
        graph = changed(api_graph("sdxl_lora_controlnet"), node, **off)
        (without,) = client.run(graph, timeout_s=RUN_S).files["17"]
        assert psnr(drawn, without) < 35


def changed(graph: Graph, node: str, **inputs: float | str) -> Graph:
    graph[node]["inputs"].update(inputs)
    return graph


@pytest.mark.parametrize("link", get_args(PackLink))
def test_the_template_browser_finds_them(servers: Servers, link: PackLink) -> None:
    with ComfyClient(servers.get(link).url) as client:
        assert sorted(client.get("/workflow_templates").json()["skipstep"]) == NAMES
        for name in NAMES:
            assert client.get(f"/api/workflow_templates/skipstep/{name}.json").json() == ui_workflow(name)
            picture = client.get(f"/api/workflow_templates/skipstep/{name}.jpg").content
            assert opened(picture).format == "JPEG"
            assert len(picture) < 60_000
