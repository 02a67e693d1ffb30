"""Interval 1 is the plain model, bit for bit, whatever it is sampled with and patched with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import comfy.samplers
import pytest
import torch
from host.models import Sampling, draw, empty_latent
from host.scenes import SCENES, SEVERAL_CALLS, Scene, Studio, ksampler
from host.witness import Witness, expected_passes

from skipstep.deepcache import DeepCache

if TYPE_CHECKING:
    from host.process import Core

EXACT = DeepCache(interval=1)
WITHOUT = {  # what a scene differs from, if not from plain
    "controlnet-20-60": "controlnet",
    "pag-cfg-1": "cfg-1",
    "svd-linear-cfg": "svd",
    "svd-tome": "svd",
}
OF_SDXL = (
    *("lora", "lora-hook", "controlnet", "controlnet-20-60", "freeu", "pag", "pag-cfg-1", "sag", "masks", "cfg-1"),
    *("long-prompt", "prompt-switch", "perp-neg", "image-prompt", "everything"),
)


def _scenes() -> list[Any]:
    """Every scene with a sampler of one evaluation a step, and with one of two."""
    slow = {"marks": pytest.mark.slow}
    twice = [pytest.param(name, "heun", **({} if name in SEVERAL_CALLS else slow)) for name in SCENES]
    return [*((name, "euler") for name in SCENES), *twice]


def _drawn(studio: Studio, scene: Scene, sampler: str) -> torch.Tensor:
    return scene.drawing(studio.core, scene.tiny, sampler)


@pytest.mark.parametrize(("name", "sampler"), _scenes())
def test_every_scene(studio: Studio, sampling: Any, plain: Any, name: str, sampler: str) -> None:
    scene = SCENES[name](studio)
    assert plain(name, sampler).isfinite().all()
    assert plain(name, sampler).std() > 1e-2
    cached = replace(scene.tiny, model=sampling.speed_up(scene.tiny.model, cache=EXACT))
    witness = Witness()
    assert torch.equal(scene.drawing(studio.core, witness.beside(cached), sampler), plain(name, sampler))
    calls = [scene.calls_at(sigma) for sigma in witness.sigmas]
    assert witness.calls == [len(names) for names in calls]  # one call of the UNet for each of the plain model's
    assert sampling.speedup_of(cached.model).record.latest.log.kinds == expected_passes(calls, interval=1)


@pytest.mark.slow  # dpm_adaptive takes as many steps as it likes: minutes
@pytest.mark.parametrize(
    "sampler", [name for name in comfy.samplers.SAMPLER_NAMES if name not in ("euler", "heun", "dpm_adaptive")]
)
@pytest.mark.parametrize("name", SCENES)
def test_every_scene_with_every_other_sampler(
    studio: Studio, sampling: Any, plain: Any, name: str, sampler: str
) -> None:
    scene = SCENES[name](studio)
    assert plain(name, sampler).isfinite().all()
    cached = replace(scene.tiny, model=sampling.speed_up(scene.tiny.model, cache=EXACT))
    assert torch.equal(scene.drawing(studio.core, cached, sampler), plain(name, sampler))
    assert set(sampling.speedup_of(cached.model).record.latest.log.kinds) == {"F"}


@pytest.mark.parametrize("name", [*OF_SDXL, "svd-linear-cfg", "svd-tome"])
def test_scenes_are_not_the_plain_model(plain: Any, name: str) -> None:
    assert not torch.equal(plain(name, "euler"), plain(WITHOUT.get(name, "plain"), "euler"))


def test_tiles_are_not_the_whole_picture(studio: Studio, plain: Any) -> None:
    whole = Scene(tiny=studio.sdxl, drawing=ksampler(width=128))
    assert not torch.equal(plain("two-tiles", "euler"), _drawn(studio, whole, "euler"))


def test_tiled_attention_is_not_the_whole(studio: Studio, plain: Any) -> None:
    whole = Scene(tiny=studio.sdxl, drawing=ksampler(width=128, height=128))
    assert not torch.equal(plain("hypertile", "euler"), _drawn(studio, whole, "euler"))


@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_every_sampler(core: Core, studio: Studio, sampling: Any, name: str) -> None:
    denoise = 0.02 if name == "dpm_adaptive" else 1.0  # as many steps as it takes
    run = Sampling(steps=3, sampler_name=name, denoise=denoise)
    options = {"latent": empty_latent(width=64, height=64), "sampling": run}
    plain = draw(core, studio.sdxl, **options)
    assert plain.isfinite().all()
    assert plain.std() > 1e-2
    cached = replace(studio.sdxl, model=sampling.speed_up(studio.sdxl.model, cache=EXACT))
    assert torch.equal(draw(core, cached, **options), plain)
    assert set(sampling.speedup_of(cached.model).record.latest.log.kinds) == {"F"}


@pytest.mark.parametrize("name", comfy.samplers.SCHEDULER_NAMES)
def test_every_scheduler(core: Core, studio: Studio, sampling: Any, name: str) -> None:
    options = {"latent": empty_latent(width=64, height=64), "sampling": Sampling(steps=4, scheduler=name)}
    plain = draw(core, studio.sdxl, **options)
    assert plain.std() > 1e-2
    cached = replace(studio.sdxl, model=sampling.speed_up(studio.sdxl.model, cache=EXACT))
    assert torch.equal(draw(core, cached, **options), plain)
    reusing = replace(studio.sdxl, model=sampling.speed_up(studio.sdxl.model, cache=DeepCache(interval=3)))
    assert not torch.equal(draw(core, reusing, **options), plain)
    evaluations = len(sampling.speedup_of(cached.model).record.latest.log)
    assert sampling.speedup_of(reusing.model).record.latest.log.kinds == ("Frr" * 4)[:evaluations]
