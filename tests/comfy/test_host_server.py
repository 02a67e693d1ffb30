"""A real server: the pack in it, and graphs over HTTP."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy
import pytest
from comfy_host.base import PackLink, hide_installed_skipstep
from comfy_host.server import GUARD
from host.client import ComfyClient, RefusedError
from host.graphs import picture_graph, video_graph
from host.servers import Servers
from PIL import Image


@pytest.mark.parametrize("link", get_args(PackLink))
def test_the_pack_loads_in_both_layouts(servers: Servers, link: PackLink) -> None:
    server = servers.get(link)
    log = server.text()
    listed = log[log.index("Import times for custom nodes:") :].splitlines()
    (line,) = [line for line in listed if line.endswith("custom_nodes/skipstep")]
    assert "IMPORT FAILED" not in line
    # comfy-angle is left out of the host; the older version has no node that needs it
    failed = [line for line in log.splitlines() if "IMPORT FAILED:" in line]
    assert [line for line in failed if "nodes_glsl.py" not in line] == []


def test_both_layouts_offer_the_same_nodes(servers: Servers) -> None:
    offered = []
    for link in get_args(PackLink):
        with ComfyClient(servers.get(link).url) as client:
            info = client.object_info()
        assert len(info) > 100
        offered.append({name for name, node in info.items() if node["python_module"] == "custom_nodes.skipstep"})
    assert offered[0] == offered[1]


def test_a_cloned_repository_does_not_see_the_installed_package(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "import skipstep"]
    installed = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    hidden = {**installed, "PYTHONPATH": str(hide_installed_skipstep(tmp_path))}
    assert subprocess.run(line, env=installed, check=False).returncode == 0
    seen = subprocess.run(line, env=hidden, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "No module named 'skipstep'" in seen.stderr


def test_a_graph_draws_a_picture(client: ComfyClient) -> None:
    outcome = client.run(picture_graph(steps=4, seed=3))
    assert outcome.status == "success"
    (data,) = outcome.files["picture"]
    picture = numpy.asarray(Image.open(io.BytesIO(data)))
    assert picture.shape == (128, 128, 3)
    assert picture.std() > 1  # of 255
    assert [message.data["value"] for message in outcome.messages if message.kind == "progress"] == [1, 2, 3, 4]
    assert len(outcome.previews) == 4
    assert Image.open(io.BytesIO(outcome.previews[0])).format == "JPEG"
    assert "sampler" in outcome.executed()


def test_what_has_not_changed_is_not_drawn_again(client: ComfyClient) -> None:
    first = client.run(picture_graph(seed=5))
    again = client.run(picture_graph(seed=5))
    other = client.run(picture_graph(seed=6))
    assert "sampler" not in again.executed()
    assert "sampler" in other.executed()
    assert other.files["picture"] != first.files["picture"]


def test_a_graph_draws_a_video_from_an_uploaded_picture(client: ComfyClient) -> None:
    noise = numpy.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="PNG")
    name = client.upload_image("start.png", file.getvalue())
    outcome = client.run(video_graph(picture=name, steps=2))
    assert outcome.status == "success"
    (data,) = outcome.files["picture"]
    assert Image.open(io.BytesIO(data)).n_frames == 4


def test_a_bad_input_is_refused_with_the_node_that_has_it(client: ComfyClient) -> None:
    graph = picture_graph()
    graph["sampler"]["inputs"]["sampler_name"] = "no such sampler"
    with pytest.raises(RefusedError) as refused:
        client.run(graph)
    assert refused.value.status == 400
    (error,) = refused.value.node_errors["sampler"]["errors"]
    assert error["type"] == "value_not_in_list"


def test_an_error_while_running_comes_with_its_node(client: ComfyClient) -> None:
    graph = picture_graph()
    graph["latent"] = {"class_type": "EmptyLatentAudio", "inputs": {"seconds": 1.0, "batch_size": 1}}
    outcome = client.run(graph)
    assert outcome.status == "error"
    assert outcome.error is not None
    assert outcome.error["node_id"] == "sampler"


def test_an_interrupted_graph_ends_and_the_next_one_runs(client: ComfyClient) -> None:
    prompt = client.queue(picture_graph(steps=200, seed=7))
    client.until(lambda message: message.kind == "progress")
    client.interrupt()
    outcome = client.wait(prompt)
    assert outcome.status == "interrupted"
    assert "picture" not in outcome.files
    assert client.run(picture_graph(seed=8)).status == "success"


def test_a_server_ends_with_its_starter() -> None:
    child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    guard = subprocess.Popen(
        [sys.executable, "-I", str(GUARD), *child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    with guard.stdin, guard.stdout:
        pid = int(guard.stdout.readline())
        os.kill(pid, 0)
        guard.stdin.close()
        guard.wait(10)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
