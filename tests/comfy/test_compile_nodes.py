"""Compiled models in ComfyUI: the same latents as without a compiler, few graphs, and nothing left behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import comfy.controlnet
import comfy.model_management as management
import comfy.model_patcher
import pytest
import torch
from host.frozen import FrozenBackend, SharingBackend
from host.models import Sampling, TinySDXL, TinySVD, draw, empty_latent, load_sdxl, picture, with_controlnet, with_lora
from host.process import Core, Pack
from host.scenes import Studio, lora_hook

from skipstep.compile import Compiler
from skipstep.deepcache import DeepCache
from skipstep.errors import BackendError, CompileFallbackWarning, OptionError, UnsupportedModelError

USUAL = {"backend": "inductor", "mode": "default", "shapes": "exact", "verify": False}
CACHE = DeepCache(interval=3, branch=3)
Change = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _frozen(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """ "inductor" in nodes is a compiler that takes no time, and none is left of other tests."""
    monkeypatch.setattr("skipstep.compile.backends.InductorBackend", FrozenBackend)
    kept = pack.module("comfy_nodes.compiling.compilers")._compilers
    kept.clear()
    yield
    kept.clear()


@pytest.fixture
def cached(sampling: Any) -> Change:
    return lambda model: sampling.speed_up(model, cache=CACHE)


@pytest.fixture
def compiled(core: Core) -> Change:
    return lambda model: core.call("SkipstepCompileModel", model=model, **USUAL)[0]


@pytest.fixture
def counters(sampling: Any) -> Callable[[Any], Any]:
    return lambda model: sampling.speedup_of(model).compiler.counters


def behind(tiny: TinySDXL, *nodes: Change) -> TinySDXL:
    model = tiny.model
    for node in nodes:
        model = node(model)
    return replace(tiny, model=model)


def test_a_compiled_model_draws_what_the_model_draws(
    core: Core, comfy_sdxl: TinySDXL, compiled: Change, counters: Any
) -> None:
    plain = draw(core, comfy_sdxl)
    tiny = behind(comfy_sdxl, compiled)
    for seed in (1, 2):
        drawn = draw(core, tiny, sampling=Sampling(seed=seed))
        assert torch.equal(drawn, draw(core, comfy_sdxl, sampling=Sampling(seed=seed)))
        assert torch.equal(drawn, plain) == (seed == 1)
    found = counters(tiny.model)
    assert (found.compiles, found.hits, found.eager, found.failures) == (1, 12, 0, [])


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_cache_in_either_order_is_two_graphs_and_the_same_picture(
    core: Core, comfy_sdxl: TinySDXL, cached: Change, compiled: Change, counters: Any, order: str
) -> None:
    expected = draw(core, behind(comfy_sdxl, cached))
    tiny = behind(comfy_sdxl, *((compiled, cached) if order == "before" else (cached, compiled)))
    assert torch.equal(draw(core, tiny), expected)
    assert not torch.equal(expected, draw(core, comfy_sdxl))
    assert counters(tiny.model).compiles == 2
    draw(core, tiny, sampling=Sampling(seed=2, steps=4))
    draw(core, tiny, latent=empty_latent(width=96), sampling=Sampling(steps=4))
    found = counters(tiny.model)
    assert (found.compiles, found.hits, found.eager, found.failures) == (4, 14, 0, [])


def test_graphs_outlive_the_execution_of_the_node_and_not_the_model(
    core: Core, cached: Change, counters: Any, pack: Pack
) -> None:
    tiny: list[TinySDXL] = [load_sdxl(core)]
    kept = pack.module("comfy_nodes.compiling.compilers")._compilers

    def run(**changes: Any) -> Any:
        (model,) = core.call("SkipstepCompileModel", model=cached(tiny[0].model), **{**USUAL, **changes})
        draw(core, replace(tiny[0], model=model), sampling=Sampling(steps=3))
        return counters(model)

    first = run()
    assert run() is first
    assert first.compiles == 2
    assert run(shapes="dynamic") is not first
    assert run() is first
    assert len(kept) == 1
    held = weakref.ref(tiny[0].model.model)
    graphs = weakref.ref(next(iter(kept[tiny[0].model.model].values())))
    tiny.clear()
    management.unload_all_models()
    gc.collect()
    assert held() is None
    assert graphs() is None
    assert len(kept) == 0


@pytest.mark.parametrize("order", ["LoRA first", "compiler first"])
def test_a_lora_that_is_loaded_after_compiling_counts_and_so_does_taking_it_off(
    core: Core, comfy_sdxl: TinySDXL, cached: Change, compiled: Change, counters: Any, order: str
) -> None:
    def lora_of(strength: float) -> Change:
        if not strength:
            return lambda model: model
        return lambda model: with_lora(core, replace(comfy_sdxl, model=model), strength=strength).model

    seen = []
    for strength in (0.0, 1.0, 0.5, 0.0):
        lora = lora_of(strength)
        nodes = (lora, compiled) if order == "LoRA first" else (compiled, lora)
        tiny = behind(comfy_sdxl, cached, *nodes)
        seen.append(draw(core, tiny))
        assert torch.equal(seen[-1], draw(core, behind(comfy_sdxl, cached, lora)))
    assert torch.equal(seen[0], seen[3])
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    found = counters(tiny.model)
    assert found.compiles == 2
    assert (found.eager, found.failures) == (0, [])


@pytest.mark.parametrize("node", ["FreeU_V2", "PerturbedAttentionGuidance"])
def test_patches_of_other_nodes_run_eagerly(
    core: Core, comfy_sdxl: TinySDXL, cached: Change, compiled: Change, counters: Any, node: str
) -> None:
    inputs = {
        "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        "PerturbedAttentionGuidance": {"scale": 3.0},
    }

    def patched(model: Any) -> Any:
        return core.call(node, model=model, **inputs[node])[0]

    torch.manual_seed(3)
    expected = draw(core, behind(comfy_sdxl, cached, patched))
    tiny = behind(comfy_sdxl, compiled, cached)
    assert torch.equal(draw(core, tiny), draw(core, behind(comfy_sdxl, cached)))
    torch.manual_seed(3)
    with pytest.warns(CompileFallbackWarning, match=r"calls with patches\w*\.\w+ in transformer_options") as record:
        drawn = draw(core, replace(tiny, model=patched(tiny.model)))
    assert len([warning for warning in record if warning.category is CompileFallbackWarning]) == 1
    assert torch.equal(drawn, expected)
    assert not torch.equal(drawn, draw(core, tiny))
    assert counters(tiny.model).eager >= 6
    assert counters(tiny.model).compiles == 2


def test_residuals_of_a_controlnet_are_followed(
    core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any, cached: Change, compiled: Change, counters: Any
) -> None:
    tiny = behind(comfy_sdxl, compiled, cached)
    seen = []
    for strength in (1.0, 0.5):
        expected = draw(core, with_controlnet(core, behind(comfy_sdxl, cached), comfy_controlnet, strength=strength))
        seen.append(draw(core, with_controlnet(core, tiny, comfy_controlnet, strength=strength)))
        assert torch.equal(seen[-1], expected)
    assert not torch.equal(*seen)
    assert (counters(tiny.model).compiles, counters(tiny.model).eager) == (2, 0)


def test_a_video_is_the_same(core: Core, comfy_svd: TinySVD, sampling: Any, compiled: Change, counters: Any) -> None:
    plain = replace(comfy_svd, model=sampling.speed_up(comfy_svd.model, cache=DeepCache(interval=2)))
    tiny = replace(plain, model=compiled(plain.model))
    assert torch.equal(draw(core, tiny, sampling=Sampling(steps=3)), draw(core, plain, sampling=Sampling(steps=3)))
    assert (counters(tiny.model).compiles, counters(tiny.model).eager) == (2, 0)


def test_unloading_costs_no_graphs_and_another_precision_has_its_own(
    core: Core, comfy_sdxl: TinySDXL, cached: Change, compiled: Change, counters: Any
) -> None:
    tiny = behind(comfy_sdxl, compiled, cached)
    before = draw(core, tiny)
    management.unload_all_models()
    assert torch.equal(draw(core, tiny), before)
    assert counters(tiny.model).compiles == 2

    def half(model: Any) -> Any:
        return core.call("ModelComputeDtype", model=model, dtype="bf16")[0]

    drawn = draw(core, behind(comfy_sdxl, compiled, cached, half))
    assert torch.equal(drawn, draw(core, behind(comfy_sdxl, cached, half)))
    assert not torch.equal(drawn, before)
    assert torch.equal(draw(core, tiny), before)
    assert (counters(tiny.model).eager, counters(tiny.model).failures) == (0, [])


def test_weights_that_are_patched_at_each_call_run_eagerly(
    core: Core, comfy_sdxl: TinySDXL, compiled: Change, sampling: Any
) -> None:
    """As where memory is short: ComfyUI leaves weights where they are, and makes those of a LoRA as they are used."""
    tiny = behind(comfy_sdxl, compiled)
    compiler, unet = sampling.speedup_of(tiny.model).compiler, tiny.model.model.diffusion_model
    inputs = (torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 5, 64), torch.randn(1, 1568), None, {})
    patched = with_lora(core, tiny, strength=1.0).model
    with torch.inference_mode():
        seen = []
        for model, eager in ((tiny.model, 0), (patched, 1), (tiny.model, 1)):
            management.unload_all_models()
            model.patch_model(model.load_device, lowvram_model_memory=2**20 if model is patched else 0)
            split = compiler(unet, (0,))
            if model is patched:
                with pytest.warns(CompileFallbackWarning, match="weights are made anew for each"):
                    seen.append(split.full(*inputs)[0])
            else:
                seen.append(split.full(*inputs)[0])
            assert torch.equal(seen[-1], unet(*inputs))
            assert compiler.counters.eager == eager
            model.unpatch_model(model.offload_device)
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])


class Copying(FrozenBackend):
    """A backend that says that it copies weights."""

    copies_weights = True


def test_hooks_that_change_weights_during_a_run_are_followed_or_refused(
    studio: Studio, sampling: Any, cached: Change, counters: Any
) -> None:
    tiny = lora_hook(studio).tiny
    assert isinstance(tiny, TinySDXL)
    expected = draw(studio.core, behind(tiny, cached))
    assert not torch.equal(expected, draw(studio.core, behind(studio.sdxl, cached)))

    def compiled_by(backend: Any) -> TinySDXL:
        return behind(tiny, cached, lambda model: sampling.speed_up(model, compiler=Compiler(backend)))

    sharing = compiled_by(SharingBackend())
    assert torch.equal(draw(studio.core, sharing), expected)
    assert (counters(sharing.model).compiles, counters(sharing.model).eager) == (2, 0)
    with pytest.raises(BackendError, match="hooks change the weights of this model during the run"):
        draw(studio.core, compiled_by(Copying()))


def torch_compiled(core: Core, backend: str = "eager") -> Change:
    return lambda model: core.call("TorchCompileModel", model=model, backend=backend)[0]


def ordered(order: str, one: Change, other: Change) -> tuple[Change, Change]:
    return (one, other) if order == "before" else (other, one)


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_torch_compile_model_was_asked_for_is_taken_over(
    core: Core,
    comfy_sdxl: TinySDXL,
    cached: Change,
    pack: Pack,
    monkeypatch: pytest.MonkeyPatch,
    order: str,
) -> None:
    asked, backends = [], []

    def backend(name: str, **arguments: Any) -> Any:
        asked.append((name, arguments))
        backends.append(FrozenBackend())
        return backends[-1]

    monkeypatch.setattr(pack.module("comfy_nodes.sampling.core_compile"), "TorchCompileBackend", backend)
    nodes = ordered(order, torch_compiled(core, "cudagraphs"), cached)
    for _ in range(2):  # the second time with what the nodes give when they are executed again
        tiny = behind(comfy_sdxl, *nodes)
        assert torch.equal(draw(core, tiny), draw(core, behind(comfy_sdxl, cached)))
        assert "torch.compile" in tiny.model.wrappers["apply_model"]  # left out of our runs only
    assert asked == [("cudagraphs", {"mode": None, "options": {}, "fullgraph": False})]
    (compiler,) = pack.module("comfy_nodes.compiling.compilers")._compilers[comfy_sdxl.model.model].values()
    assert (compiler.counters.compiles, compiler.counters.hits, compiler.counters.eager) == (2, 12, 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("order", ["before", "after"])
def test_torch_traces_two_graphs_of_a_model_that_torch_compile_model_was_put_on(
    core: Core, comfy_sdxl: TinySDXL, cached: Change, order: str
) -> None:
    expected = draw(core, behind(comfy_sdxl, cached))
    assert not torch.equal(expected, draw(core, comfy_sdxl))
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    for _ in range(2):
        tiny = behind(comfy_sdxl, *ordered(order, torch_compiled(core), cached))
        assert torch.equal(draw(core, tiny), expected)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    assert not torch._dynamo.utils.counters["graph_break"]
    torch.compiler.reset()


def test_our_compiler_comes_before_that_of_comfyui(
    core: Core, comfy_sdxl: TinySDXL, cached: Change, compiled: Change, counters: Any
) -> None:
    tiny = behind(comfy_sdxl, torch_compiled(core, "aot_eager"), compiled, cached)
    torch._dynamo.utils.counters.clear()
    assert torch.equal(draw(core, tiny), draw(core, behind(comfy_sdxl, cached)))
    assert counters(tiny.model).compiles == 2
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0


def test_a_vae_gives_the_same_and_the_one_that_was_given_is_as_it_was(core: Core, comfy_sdxl: TinySDXL) -> None:
    vae = comfy_sdxl.vae
    before = dict(vars(vae))
    (made,) = core.call("SkipstepCompileVAE", vae=vae, **USUAL)
    (again,) = core.call("SkipstepCompileVAE", vae=made, **USUAL)
    latents = [{"samples": torch.randn(1, 4, 8, size)} for size in (8, 12)]
    for _ in range(2):
        for latent in latents:
            expected = core.call("VAEDecode", vae=vae, samples=latent)[0]
            assert torch.equal(core.call("VAEDecode", vae=made, samples=latent)[0], expected)
            assert torch.equal(core.call("VAEDecode", vae=again, samples=latent)[0], expected)
            assert expected.std() > 1e-2
        pixels = picture()
        encoded = core.call("VAEEncode", vae=made, pixels=pixels)[0]["samples"]
        assert torch.equal(encoded, core.call("VAEEncode", vae=vae, pixels=pixels)[0]["samples"])
        management.unload_all_models()
    counters = made.first_stage_model.compiler.counters
    assert again.first_stage_model.compiler is made.first_stage_model.compiler
    assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (3, 10, 0, [])
    assert vars(vae) == before
    assert made.patcher is vae.patcher
    assert list(made.get_sd()) == list(vae.get_sd())


def test_tiles_of_a_vae_are_the_same(core: Core, comfy_sdxl: TinySDXL) -> None:
    (made,) = core.call("SkipstepCompileVAE", vae=comfy_sdxl.vae, **USUAL)
    latent = {"samples": torch.randn(1, 4, 12, 12)}
    tiles = {"tile_size": 64, "overlap": 32, "temporal_size": 64, "temporal_overlap": 8}
    expected = core.call("VAEDecodeTiled", vae=comfy_sdxl.vae, samples=latent, **tiles)[0]
    assert torch.equal(core.call("VAEDecodeTiled", vae=made, samples=latent, **tiles)[0], expected)
    assert made.first_stage_model.compiler.counters.hits > 3


class InPieces(torch.nn.Module):
    comfy_has_chunked_io = True


def test_vaes_that_no_graph_can_follow_are_refused(core: Core, comfy_sdxl: TinySDXL) -> None:
    import copy

    vae = copy.copy(comfy_sdxl.vae)
    for network, told in ((None, "this VAE has no network"), (InPieces(), "InPieces decodes in pieces")):
        vae.first_stage_model = network
        with pytest.raises(UnsupportedModelError, match=told):
            core.call("SkipstepCompileVAE", vae=vae, **USUAL)


def test_a_compiled_controlnet_gives_the_same_with_a_cache_too(
    core: Core, comfy_sdxl: TinySDXL, comfy_controlnet: Any, cached: Change, compiled: Change
) -> None:
    before = dict(vars(comfy_controlnet))
    (made,) = core.call("SkipstepCompileControlNet", control_net=comfy_controlnet, **USUAL)
    counters = made.control_model.compiler.counters
    for strength in (1.0, 0.4):
        expected = draw(core, with_controlnet(core, comfy_sdxl, comfy_controlnet, strength=strength))
        assert torch.equal(draw(core, with_controlnet(core, comfy_sdxl, made, strength=strength)), expected)
    assert not torch.equal(expected, draw(core, comfy_sdxl))
    assert (counters.compiles, counters.hits, counters.eager, counters.failures) == (1, 12, 0, [])
    for nodes in ((cached,), (cached, compiled)):  # whose reuse passes take a part of the ControlNet
        tiny = behind(comfy_sdxl, *nodes)
        expected = draw(core, with_controlnet(core, behind(comfy_sdxl, cached), comfy_controlnet))
        assert torch.equal(draw(core, with_controlnet(core, tiny, made)), expected)
    assert (counters.compiles, counters.eager, counters.failures) == (2, 0, [])
    assert made.get_models() == comfy_controlnet.get_models()
    assert vars(comfy_controlnet) == before


def test_control_nets_that_compiling_is_of_no_use_to_are_refused(core: Core) -> None:
    lora = comfy.controlnet.ControlLora({})
    adapter = comfy.controlnet.T2IAdapter(torch.nn.Identity(), 3, 8, "nearest-exact")
    for control, told in ((lora, "a Control LoRA is built anew"), (adapter, "a T2I-Adapter runs once")):
        with pytest.raises(UnsupportedModelError, match=told):
            core.call("SkipstepCompileControlNet", control_net=control, **USUAL)


def test_what_cannot_be_had_is_refused_with_the_reason(core: Core, comfy_sdxl: TinySDXL) -> None:
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"backend": "onediff"}, BackendError, "the onediff backend cannot be used here: OneDiff is not installed"),
        (
            {"backend": "oneflow"},
            BackendError,
            "the oneflow backend cannot be used here: not set up: make an environment",
        ),
        ({"backend": "openvino"}, BackendError, "the openvino backend cannot be used here: OpenVINO is not installed"),
        ({"backend": "aot", "shapes": "dynamic"}, OptionError, "dynamic is not for the aot backend"),
        ({"mode": "cuda graphs"}, BackendError, "cuda graphs need an NVIDIA GPU"),
        ({"backend": "eager", "verify": True}, OptionError, "the eager backend makes none"),
    ]
    for changes, error, told in refused:
        with pytest.raises(error, match=told):
            core.call("SkipstepCompileModel", model=comfy_sdxl.model, **{**USUAL, **changes})
    model = comfy_sdxl.model.clone()
    model.add_object_patch("diffusion_model", torch.nn.Identity())
    with pytest.raises(UnsupportedModelError, match="cannot be cached"):
        core.call("SkipstepCompileModel", model=model, **USUAL)


def test_backends_are_told_with_what_is_wrong_with_them(core: Core) -> None:
    for node in ("SkipstepCompileModel", "SkipstepCompileVAE", "SkipstepCompileControlNet"):
        inputs = {one.id: one for one in core.node(node).GET_SCHEMA().inputs}
        told = inputs["backend"].tooltip
        assert inputs["backend"].options == ["eager", "inductor", "aot", "openvino", "oneflow", "onediff"]
        assert "openvino: not installed: pip install openvino" in told
        assert "oneflow: not set up: make an environment with `cd tools && python -m oneflow_env FOLDER`" in told
        assert "eager: torch 2" in told


class Pretending(comfy.model_patcher.ModelPatcher):
    """A patcher that says to load weights as they are needed, as newer ComfyUIs do on GPUs."""

    def is_dynamic(self) -> bool:
        return True


@pytest.mark.newest
def test_a_model_that_is_loaded_piece_by_piece_is_loaded_at_once_and_only_once(
    core: Core, comfy_sdxl: TinySDXL, compiled: Change, cached: Change
) -> None:
    own = comfy_sdxl.model
    dynamic = Pretending(own.model, own.load_device, own.offload_device)
    dynamic.cached_patcher_init = own.cached_patcher_init
    first, second = compiled(dynamic), compiled(cached(dynamic))
    assert first.model is second.model
    assert first.model is not own.model
    assert not first.is_dynamic()
    assert torch.equal(draw(core, replace(comfy_sdxl, model=first)), draw(core, comfy_sdxl))
    dynamic.cached_patcher_init = None
    again = Pretending(load_sdxl(core).model.model, own.load_device, own.offload_device)
    with pytest.raises(BackendError, match="loaded piece by piece .*--disable-dynamic-vram"):
        compiled(again)


@pytest.mark.newest
def test_a_controlnet_that_is_loaded_piece_by_piece_is_copied_once(core: Core, comfy_controlnet: Any) -> None:
    control = comfy_controlnet.copy()
    own = comfy_controlnet.control_model_wrapped
    control.control_model_wrapped = Pretending(own.model, own.load_device, own.offload_device)
    made = [core.call("SkipstepCompileControlNet", control_net=control, **USUAL)[0] for _ in range(2)]
    networks = [one.control_model.uncompiled for one in made]
    assert networks[0] is networks[1]
    assert networks[0] is not comfy_controlnet.control_model
    assert made[0].control_model_wrapped.model is networks[0]
