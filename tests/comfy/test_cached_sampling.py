"""A MODEL with a cache, sampled from by ComfyUI itself."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.models import Sampling, TinySDXL, draw

if TYPE_CHECKING:
    from host.process import Core, Pack


@pytest.fixture
def sampling(pack: Pack) -> Any:
    """The pack's `sampling` package."""
    return pack.module("comfy_nodes.sampling")


def passes(sampling: Any, tiny: TinySDXL) -> str:
    """What the latest run of a model did."""
    return str(sampling.speedup_of(tiny.model).record.latest.log.kinds)


def test_interval_one_is_the_plain_model(core: Core, comfy_sdxl: TinySDXL, sampling: Any) -> None:
    from skipstep.deepcache import DeepCache

    plain = draw(core, comfy_sdxl)
    assert plain.std() > 1e-2
    cached = replace(comfy_sdxl, model=sampling.speed_up(comfy_sdxl.model, cache=DeepCache(interval=1)))
    assert torch.equal(draw(core, cached), plain)
    assert passes(sampling, cached) == "FFFFFF"


def test_interval_three_reuses_and_begins_anew_in_every_run(core: Core, comfy_sdxl: TinySDXL, sampling: Any) -> None:
    from skipstep.deepcache import DeepCache

    plain = draw(core, comfy_sdxl)
    cached = replace(comfy_sdxl, model=sampling.speed_up(comfy_sdxl.model, cache=DeepCache(interval=3)))
    first = draw(core, cached)
    assert passes(sampling, cached) == "FrrFrr"
    assert not torch.equal(first, plain)
    assert torch.equal(draw(core, cached), first)
    assert torch.equal(draw(core, comfy_sdxl), plain)  # the model that it was made from


def test_nothing_outlives_a_run(
    core: Core, comfy_sdxl: TinySDXL, sampling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skipstep.deepcache import DeepCache, FeatureHistory

    kept: list[Any] = []
    add = FeatureHistory.add

    def watched(self: FeatureHistory, at: Any, features: torch.Tensor) -> None:
        kept.append(weakref.ref(features))
        add(self, at, features)

    monkeypatch.setattr(FeatureHistory, "add", watched)
    cached = replace(comfy_sdxl, model=sampling.speed_up(comfy_sdxl.model, cache=DeepCache(interval=3)))
    draw(core, cached, sampling=Sampling(steps=4))
    gc.collect()
    assert kept
    assert all(reference() is None for reference in kept)
