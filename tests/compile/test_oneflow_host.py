"""OneFlow and OneDiff themselves: what their graphs compute, against torch, on the CPU."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import pytest
import torch
from aten_cases import CASES, Case
from compile_toys import eager, errors_of, toy_call, toy_unet
from models import sd15_pipeline
from PIL import Image
from runs import sample
from torch import Tensor

from skipstep import DeepCache, demo, speed_up
from skipstep.compile import CompileCounters, CompileOptions, Compiler, PassSpec, oneflow_environment, relative_error
from skipstep.compile.flow_graph import FlowGraph, FlowModel
from skipstep.compile.oneflow import flow_host
from skipstep.errors import CompileFallbackWarning, WorkerLostError

pytestmark = pytest.mark.oneflow
BAR = 1e-4  # relative error of a run of 30 steps
ROUNDING = 1e-5  # of one pass: other kernels add in another order


@pytest.fixture(scope="module", params=["oneflow", "onediff"])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend that needs the environment."""
    if request.param == "onediff" and "onediff" not in flow_host().versions:
        pytest.skip("the environment has no OneDiff: cd tools && python -m oneflow_env FOLDER --onediff")
    return str(request.param)


@pytest.fixture(scope="module")
def model() -> FlowModel:
    """One process for small passes of both engines."""
    python = oneflow_environment()
    assert python.ok
    return FlowModel(python.detail)


@pytest.fixture(scope="module")
def kept() -> list[FlowGraph]:
    """Graphs that are not to go: the process ends with the last of them."""
    return []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_operator_computes_what_torch_does(
    model: FlowModel, kept: list[FlowGraph], backend: str, case: Case
) -> None:
    module, tensors = case.module(), case.tensors()
    spec = PassSpec(
        name=str(case), fingerprint="", example=tensors, options=CompileOptions(), counters=CompileCounters()
    )
    kept.append(FlowGraph(model, module, spec, engine=backend))
    made = kept[-1](*tensors)
    for one, other in zip(module(*tensors), made, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert relative_error(one, other) <= ROUNDING


def sdxl() -> Any:
    pipe = demo.load_demo_sdxl()
    return pipe, lambda: pipe("a red apple", num_inference_steps=30, output_type="latent", generator=seeded()).images


def svd() -> Any:
    pipe = demo.load_demo_svd()
    picture = Image.fromarray((torch.rand(64, 64, 3, generator=seeded()) * 255).byte().numpy())
    call = {"height": 64, "width": 64, "num_frames": 8, "num_inference_steps": 30, "output_type": "latent"}
    return pipe, lambda: pipe(picture, **call, generator=seeded()).frames


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.mark.slow
@pytest.mark.parametrize("demonstrate", [sdxl, svd])
def test_a_demo_is_drawn_by_two_graphs(demonstrate: Any, backend: str) -> None:
    pipe, draw = demonstrate()
    pipe.set_progress_bar_config(disable=True)
    plain = draw()
    with speed_up(pipe, DeepCache(interval=3)):
        expected = draw()
    compiler = Compiler(backend)
    with speed_up(pipe, DeepCache(interval=3), split=compiler) as run:
        made = draw()
    assert relative_error(expected, made) <= BAR
    assert relative_error(plain, expected) > 0.01  # features were reused
    assert (run.report.full_passes, run.report.reuse_passes) == (10, 20)
    with torch.no_grad():  # as a LoRA that is fused or swapped
        pipe.unet.conv_out.weight.mul_(0.8)
    with speed_up(pipe, DeepCache(interval=3)):
        changed = draw()
    with speed_up(pipe, DeepCache(interval=3), split=compiler):
        assert relative_error(changed, draw()) <= BAR
    assert relative_error(expected, changed) > 0.01
    counters = compiler.counters
    assert (counters.compiles, counters.refreshes, counters.eager, counters.failures) == (2, 2, 0, [])


@torch.no_grad()
@pytest.mark.slow
def test_parts_of_a_vae_are_graphs_too(backend: str) -> None:
    vae, video, compiler = demo.load_demo_sdxl().vae, demo.load_demo_svd().vae, Compiler(backend)
    for part, shape in ((vae.decoder, (1, 4, 16, 16)), (vae.encoder, (1, 3, 64, 64))):
        given = torch.randn(shape, generator=seeded())
        assert relative_error(part(given), compiler.calls(part, name="a part of the VAE")(given)) <= ROUNDING
    latents = torch.randn(4, video.config.latent_channels, 8, 8, generator=seeded())
    expected = video.decode(latents, num_frames=4, return_dict=False)[0]
    assert relative_error(expected, compiler.decoder(video)(latents, num_frames=4)[0]) <= ROUNDING
    assert (compiler.counters.compiles, compiler.counters.eager, compiler.counters.failures) == (3, 0, [])


@torch.no_grad()
def test_changed_weights_are_followed_without_another_graph(backend: str) -> None:
    unet = toy_unet()
    before, compiler = eager(unet, **toy_call()), Compiler(backend)
    split = compiler(unet, (0,))
    assert max(errors_of(split, toy_call())) <= ROUNDING
    for weight in (unet.conv_out.bias, unet.conv_in.weight):
        weight.mul_(3)
    assert max(errors_of(split, toy_call())) <= ROUNDING
    assert relative_error(before, eager(unet, **toy_call())) > 0.01
    assert (compiler.counters.compiles, compiler.counters.refreshes, compiler.counters.eager) == (2, 2, 0)


def test_a_process_that_is_killed_in_a_run_ends_the_run_and_the_next_one_works(backend: str) -> None:
    pipe, compiler, killed = sd15_pipeline(unet=toy_unet()), Compiler(backend), []

    def kill(*_: Any) -> dict[str, Any]:
        if compiler.counters.compiles == 2 and not killed:
            killed.extend(model.pid for model in compiler.backend._passes.models)  # type: ignore[attr-defined]
            os.kill(killed[0], signal.SIGKILL)
        return {}

    with speed_up(pipe, DeepCache(interval=2), split=compiler):
        with pytest.raises(WorkerLostError, match="was ended by SIGKILL while running; this run ends, the next starts"):
            sample(pipe, steps=10, callback_on_step_end=kill)
        picture = sample(pipe, steps=10)
    with speed_up(pipe, DeepCache(interval=2)):
        assert relative_error(sample(pipe, steps=10), picture) <= BAR
    assert (compiler.counters.eager, compiler.counters.failures) == (0, [])


class Scaled(torch.nn.Module):
    """With a product of two vectors, which OneFlow 0.9.0 fails on."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1)
        return x / torch.matmul(flat, flat)


def test_what_oneflow_cannot_run_is_named_and_the_next_graph_works(backend: str) -> None:
    unet, compiler = toy_unet(), Compiler(backend)
    unet.conv_act = Scaled()
    split = compiler(unet, (0,))
    told = r"full pass.*, which runs eagerly: BackendError: OneFlow failed while building aten\.matmul\.default"
    with pytest.warns(CompileFallbackWarning, match=told):
        (output,) = split.full(**toy_call())[0]
    assert torch.equal(output, eager(unet, **toy_call()))
    assert max(errors_of(compiler(toy_unet(), (0,)), toy_call())) <= ROUNDING
    assert compiler.counters.compiles == 2


def test_a_backend_says_what_it_runs_on(backend: str) -> None:
    available = Compiler(backend).backend.available()
    assert available.ok
    assert re.search(r"oneflow 0\.9\.0, Python 3\.10\.\d+, for the CPU$", available.detail)
    assert available.detail.startswith(backend)
