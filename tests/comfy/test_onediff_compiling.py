"""OneDiff's compiling nodes, as on an NVIDIA GPU: the device is made believe, and so is the compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import comfy.controlnet
import comfy.model_patcher
import pytest
import torch
from host.frozen import FrozenBackend
from host.graphs import SDXL
from host.models import TinySDXL, draw, with_controlnet
from host.onediff_graphs import CONTROLNET, NEXFORT

if TYPE_CHECKING:
    from host.process import Core, Pack

COMPILED = "Compile Model with backend inductor, mode {}, shapes {}."


class PatientBackend(FrozenBackend):
    supports = FrozenBackend.supports | {"max_autotune"}


@pytest.fixture(autouse=True)
def _gpu(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("skipstep.compile.backends.InductorBackend", PatientBackend)
    monkeypatch.setattr(pack.module("comfy_nodes.onediff.compiling"), "compute_device", lambda: "cuda")
    kept = pack.module("comfy_nodes.compiling.compilers")._compilers
    kept.clear()
    yield
    kept.clear()


@pytest.fixture
def told(core: Core) -> Callable[..., tuple[Any, str]]:
    """What a node gives first, and what it shows."""

    def run(node_id: str, **inputs: Any) -> tuple[Any, str]:
        with torch.inference_mode():
            output = core.node(node_id).PREPARE_CLASS_CLONE(None).execute(**inputs)
        return output.args[0], output.ui["text"][0]

    return run


def test_deepcache_compiles_both_passes(core: Core, comfy_sdxl: TinySDXL, sampling: Any, told: Any) -> None:
    model, text = told("ModuleDeepCacheSpeedup", model=comfy_sdxl.model, static_mode="enable")
    assert text.endswith(COMPILED.format("default", "exact"))
    plain, text = told("ModuleDeepCacheSpeedup", model=comfy_sdxl.model, static_mode="disable")
    assert text.endswith("not compiled, as asked.")
    expected = draw(core, replace(comfy_sdxl, model=plain))
    assert torch.equal(draw(core, replace(comfy_sdxl, model=model)), expected)
    found = sampling.speedup_of(model).compiler.counters
    assert (found.compiles, found.eager, found.failures) == (2, 0, [])
    assert sampling.speedup_of(plain).compiler is None


@pytest.mark.parametrize("node_id", ["ModelSpeedup", "SVDSpeedup"])
def test_a_speedup_compiles_unless_it_was_not_to(comfy_sdxl: TinySDXL, sampling: Any, told: Any, node_id: str) -> None:
    model, text = told(node_id, model=comfy_sdxl.model, inplace=True)
    assert text == COMPILED.format("default", "exact")
    assert sampling.speedup_of(model).compiler is not None
    assert sampling.speedup_of(comfy_sdxl.model) is None
    same, text = told(node_id, model=comfy_sdxl.model, static_mode="disable")
    assert text == "not compiled, as asked."
    assert same is comfy_sdxl.model


@pytest.mark.parametrize(
    ("node_id", "options", "mode", "shapes"),
    [
        ("OneDiffTorchCompileBooster", {"mode": "default", "dynamic": None}, "default", "exact"),
        (
            "OneDiffTorchCompileBooster",
            {"mode": "max-autotune-no-cudagraphs", "dynamic": True},
            "max autotune",
            "dynamic",
        ),
        ("OneDiffTorchCompileBooster", {"mode": "reduce-overhead", "dynamic": False}, "cuda graphs", "exact"),
        ("OneDiffNexfortBooster", NEXFORT, "max autotune", "dynamic"),
        (
            "OneDiffNexfortBooster",
            {"mode": "jit:benchmark:low-precision:freezing:cudagraphs"},
            "cuda graphs",
            "dynamic",
        ),
        ("OneDiffNexfortBooster", {"mode": "jit:disable-runtime-fusion:low-precision"}, "default", "dynamic"),
    ],
)
def test_a_booster_says_how(
    core: Core, comfy_sdxl: TinySDXL, told: Any, node_id: str, options: Any, mode: str, shapes: str
) -> None:
    (how,) = core.call(node_id, **options)
    assert (how.compiles, how.mode, how.shapes) == (True, mode, shapes)
    (booster,) = core.call("OneDiffModelBooster", torchcompile_booster=how)
    model, text = told("ModelSpeedup", model=comfy_sdxl.model, custom_booster=booster)
    if mode == "cuda graphs":  # the CPU that this is has none
        assert text.startswith("not compiled: cuda graphs need an NVIDIA GPU")
        assert model is comfy_sdxl.model
    else:
        assert text == COMPILED.format(mode, shapes)
        assert model is not comfy_sdxl.model


def test_what_cannot_be_compiled_passes_and_says_why(told: Any) -> None:
    class Transformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.diffusion_model = torch.nn.Linear(2, 2)

    cpu = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(Transformer(), load_device=cpu, offload_device=cpu)
    passed, text = told("ModelSpeedup", model=model)
    assert passed is model
    assert text.startswith("not compiled: Transformer cannot be cached: Linear has no input_blocks")
    lora = object.__new__(comfy.controlnet.ControlLora)
    passed, text = told("ControlnetSpeedup", control_net=lora)
    assert passed is lora
    assert text.startswith("not compiled: a Control LoRA is built anew for every run")


def test_a_vae_is_compiled(core: Core, comfy_sdxl: TinySDXL, told: Any) -> None:
    latent = {"samples": draw(core, comfy_sdxl)}
    vae, text = told("VaeSpeedup", vae=comfy_sdxl.vae, inplace=True)
    assert text == "Compile VAE with backend inductor, mode default, shapes exact."
    pictures = [core.call("VAEDecode", vae=which, samples=latent)[0] for which in (comfy_sdxl.vae, vae)]
    assert torch.equal(*pictures)
    assert vae.first_stage_model.compiler.counters.compiles == 1
    loader = {"ckpt_name": SDXL, "vae_speedup": "enable"}
    for node_id in ("OneDiffCheckpointLoaderSimple", "OneDiffDeepCacheCheckpointLoaderSimple"):
        _, _, loaded = core.call(node_id, **loader)
        assert hasattr(loaded.first_stage_model, "compiler")
        _, _, loaded = core.call(node_id, ckpt_name=SDXL, vae_speedup="disable")
        assert not hasattr(loaded.first_stage_model, "compiler")


def test_a_controlnet_is_compiled(core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any, told: Any) -> None:
    expected = draw(core, with_controlnet(core, comfy_sdxl, comfy_controlnet))
    network, text = told("ControlNetSpeedup", control_net=comfy_controlnet, static_mode="enable")
    assert text == "Compile ControlNet with backend inductor, mode default, shapes exact."
    assert torch.equal(draw(core, with_controlnet(core, comfy_sdxl, network)), expected)
    assert network.control_model.compiler.counters.compiles == 1
    _, stack = core.call("ControlnetSpeedup", cnet_stack=[(comfy_controlnet, 0.5, "start")])
    ((first, *rest),) = stack
    assert hasattr(first.control_model, "compiler")
    assert rest == [0.5, "start"]
    loaded, text = told("OneDiffControlNetLoader", control_net_name=CONTROLNET)
    assert text.startswith("Load ControlNet Model; Compile ControlNet with")
    assert hasattr(loaded.control_model, "compiler")


def test_elsewhere_nothing_is_compiled(
    comfy_sdxl: TinySDXL, pack: Pack, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack.module("comfy_nodes.onediff.compiling"), "compute_device", lambda: "mps")
    model, text = told("ModelSpeedup", model=comfy_sdxl.model)
    assert model is comfy_sdxl.model
    assert text == "not compiled: OneDiff compiled for NVIDIA GPUs, and this is mps."
