"""What a run leaves behind, however it ends: nothing of ours on the model, and no features in memory."""

from __future__ import annotations

import functools
import gc
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host.drawings import ksampler
from host.models import Sampling, draw, empty_latent, load_sdxl
from host.remains import Remains
from host.scenes import SCENES, Studio

from skipstep.deepcache import DeepCache, DeepCacheSession, LdmUNetSplit, ResponseSession

if TYPE_CHECKING:
    from collections.abc import Iterator

    from host.process import Core, Pack

EVALUATIONS = 6
OPTIONS = {
    "reuse": DeepCache(interval=3),
    "measuring": DeepCache(interval=3, forecast="calibrated"),
    "float16 in host memory": DeepCache(interval=3, feature_dtype="float16", feature_device="cpu"),
}
drawing = ksampler(steps=EVALUATIONS)


@pytest.fixture
def remains(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remains]:
    """Sees what runs make."""
    watching = Remains()
    watching.watch_features(monkeypatch)
    cached_run = pack.module("comfy_nodes.sampling.run").CachedRun
    for kind in (cached_run, DeepCacheSession, ResponseSession, LdmUNetSplit):
        watching.watch(monkeypatch, kind)
    gc.freeze()  # what is there already need not be looked through
    yield watching
    gc.unfreeze()


def run(studio: Studio, model: Any, *, sampler: Any = None, callback: Any = None) -> torch.Tensor:
    """Six evaluations, and the guider looked at afterwards."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(studio.sdxl.positive, studio.sdxl.negative)
    guider.set_cfg(4.0)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    sampler = sampler or comfy.samplers.sampler_object("euler")
    sigmas = torch.tensor([14.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.0])
    before = set(guider.model_options["transformer_options"])
    try:
        with torch.inference_mode():
            made: torch.Tensor = guider.sample(noise, noise * 0, sampler, sigmas, callback=callback, seed=1)
    finally:
        assert set(guider.model_options["transformer_options"]) == before
    return made


def fails(studio: Studio, model: Any, error: type[BaseException], **how: Any) -> None:
    """The run ends with this error; its traceback, which holds everything, is dropped."""
    try:
        run(studio, model, **how)
    except error:
        return
    raise AssertionError(f"the run ended without {error}")


@pytest.fixture(scope="module")
def undisturbed(studio: Studio, sampling: Any) -> Any:
    """What a first run gives with some options, or without any."""

    def first(name: str | None) -> torch.Tensor:
        model = studio.sdxl.model
        return run(studio, model if name is None else sampling.speed_up(model, cache=OPTIONS[name]))

    return functools.cache(first)


@pytest.mark.parametrize("name", OPTIONS)
def test_after_a_run(studio: Studio, sampling: Any, undisturbed: Any, remains: Remains, name: str) -> None:
    plain, model = undisturbed(None), sampling.speed_up(studio.sdxl.model, cache=OPTIONS[name])
    assert torch.equal(run(studio, model), undisturbed(name))
    remains.check(model)
    assert torch.equal(run(studio, studio.sdxl.model), plain)
    assert torch.equal(plain, undisturbed(name)) == (name == "measuring")


def test_what_is_left_is_found(studio: Studio, sampling: Any, remains: Remains) -> None:
    kept = []

    def keep(executor: Any, *args: Any, **kwargs: Any) -> Any:
        kept.append(args[5]["skipstep"])
        return executor(*args, **kwargs)

    model = sampling.speed_up(studio.sdxl.model, cache=OPTIONS["reuse"])
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "keep", keep)
    run(studio, model)
    with pytest.raises(AssertionError):
        remains.check(model)
    kept.clear()
    remains.check(model)


@pytest.mark.parametrize("step", [1, 3])  # ahead of a reuse pass, and ahead of a full one
@pytest.mark.parametrize("name", OPTIONS)
def test_after_an_interruption(
    studio: Studio, sampling: Any, undisturbed: Any, remains: Remains, name: str, step: int
) -> None:
    plain, expected = undisturbed(None), undisturbed(name)
    model = sampling.speed_up(studio.sdxl.model, cache=OPTIONS[name])

    def interrupt(done: int, *_: Any) -> None:
        if done == step:
            comfy.model_management.interrupt_current_processing()

    fails(studio, model, comfy.model_management.InterruptProcessingException, callback=interrupt)
    remains.check(model)
    assert sampling.speedup_of(model).record.latest is None
    assert torch.equal(run(studio, model), expected)  # a calibrated one measures again
    assert torch.equal(run(studio, studio.sdxl.model), plain)


@pytest.mark.parametrize(
    ("place", "at"), [("sampler", 1), ("input block", 12), ("output block", 12), ("attention", 19)]
)
def test_after_an_error(studio: Studio, sampling: Any, undisturbed: Any, remains: Remains, place: str, at: int) -> None:
    """In the middle of the first reuse pass; a full one has 9 blocks each way, and 17 attentions."""
    options, calls = DeepCache(interval=3, branch=4), 0

    def stumble(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise LookupError(place)
        return args[0] if place != "output block" else args[:2]

    def sample_stumbling(model: Any, x: Any, sigmas: Any, extra_args: Any, **_: Any) -> None:
        for sigma in sigmas[:2]:
            model(x, sigma * x.new_ones(1), **extra_args)
        stumble()

    model, sampler = sampling.speed_up(studio.sdxl.model, cache=options), None
    if place == "sampler":
        sampler = comfy.samplers.KSAMPLER(sample_stumbling)
    elif place == "input block":
        model.set_model_input_block_patch(stumble)
    elif place == "output block":
        model.set_model_output_block_patch(stumble)
    else:
        model.set_model_attn2_output_patch(stumble)
    plain = undisturbed(None)
    fails(studio, model, LookupError, sampler=sampler)
    assert calls == at
    remains.check(model)
    assert torch.equal(run(studio, studio.sdxl.model), plain)


def test_models_are_unloaded_between_runs(studio: Studio, sampling: Any, remains: Remains) -> None:
    model = sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3))
    first = run(studio, model)
    comfy.model_management.unload_all_models()
    remains.check(model)
    assert torch.equal(run(studio, model), first)


def test_a_model_that_nobody_uses_is_freed(core: Core, sampling: Any) -> None:
    tiny = load_sdxl(core)
    model = sampling.speed_up(tiny.model, cache=DeepCache(interval=3))
    draw(core, replace(tiny, model=model), latent=empty_latent(width=64, height=64), sampling=Sampling(steps=4))
    unet, record = weakref.ref(model.model.diffusion_model), sampling.speedup_of(model).record
    del tiny, model
    comfy.model_management.unload_all_models()
    comfy.model_management.cleanup_models_gc()
    gc.collect()
    assert unet() is None
    assert record.latest.log.kinds == "FrrF"  # a record does not hold the model


def test_a_model_is_left_as_it_was(studio: Studio, sampling: Any) -> None:
    scene = SCENES["everything"](studio)
    original = scene.tiny.model
    scene.drawing(studio.core, scene.tiny, "euler")  # ComfyUI marks the modules that a LoRA changes
    unet = original.model.diffusion_model
    wrappers, attachments = repr(original.wrappers), dict(original.attachments)
    options, modules = repr(original.model_options), [*unet.named_modules()]
    attributes = {name: set(vars(module)) for name, module in modules}
    model = sampling.speed_up(original, cache=DeepCache(interval=3))
    scene.drawing(studio.core, replace(scene.tiny, model=model), "euler")
    assert repr(original.wrappers) == wrappers
    assert original.attachments == attachments == {}
    assert repr(original.model_options) == options
    assert [*unet.named_modules()] == modules
    assert {name: set(vars(module)) for name, module in modules} == attributes
    assert sum(len(found.get("skipstep", ())) for found in model.wrappers.values()) == 3
    assert sampling.speedup_of(original) is None


def test_two_samplers_of_one_model(studio: Studio, sampling: Any) -> None:
    """Two passes of a graph: another size, batch and sampler; each is as if it were alone."""
    passes = [
        ksampler(steps=4, seed=1),
        ksampler(steps=5, seed=2, width=96, batch=2),
        ksampler(steps=4, seed=3, denoise=0.5),
    ]

    def drawn(index: int, model: Any) -> torch.Tensor:
        return passes[index](studio.core, replace(studio.sdxl, model=model), ("euler", "heun", "euler")[index])

    def new_model() -> Any:
        return sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3))

    alone = [drawn(index, new_model()) for index in range(3)]
    model = new_model()
    for _ in range(2):  # the graph is queued twice
        assert all(torch.equal(drawn(index, model), alone[index]) for index in range(3))
    record = sampling.speedup_of(model).record
    assert record.count == 6
    assert record.latest.log.kinds == "FrrF"
