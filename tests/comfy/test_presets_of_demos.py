"""Fingerprints and presets of the demo models: a plan that was made for one form of a model is of the other, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from host.models import empty_latent

if TYPE_CHECKING:
    from host.process import Core, Pack


def load(core: Core, name: str) -> Any:
    node = "SkipstepDemoVideoCheckpoint" if name == "SVD" else "SkipstepDemoCheckpoint"
    return core.call(node, **({} if name == "SVD" else {"model": name}))


@pytest.mark.parametrize("name", ["SDXL", "SD1.5", "SVD"])
def test_both_forms_have_one_fingerprint(core: Core, pack: Pack, name: str) -> None:
    from skipstep.demo import load_demo_sd15, load_demo_sdxl, load_demo_svd
    from skipstep.plan import fingerprint

    of_model = pack.module("comfy_nodes.sampling.fingerprints").model_fingerprint
    unet = {"SDXL": load_demo_sdxl, "SD1.5": load_demo_sd15, "SVD": load_demo_svd}[name]().unet
    (model, *_) = load(core, name)
    assert of_model(model) == fingerprint(unet)
    assert not of_model(load(core, "SD1.5" if name == "SDXL" else "SDXL")[0]).matches(fingerprint(unet))


def test_a_preset_is_the_plan_that_ships(core: Core, pack: Pack) -> None:
    sampling = pack.module("comfy_nodes.sampling")
    model, clip, _ = load(core, "SDXL")
    (positive,) = core.call("CLIPTextEncode", clip=clip, text="a red apple on a blue background")
    (negative,) = core.call("CLIPTextEncode", clip=clip, text="")
    settings = {"seed": 1, "steps": 20, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    given = {"positive": positive, "negative": negative, "latent_image": empty_latent(), **settings}

    def draw(**options: Any) -> tuple[torch.Tensor, Any]:
        fast = sampling.speed_up(model, **options) if options else model
        (latent,) = core.call("KSampler", model=fast, **given)
        return latent["samples"], options and sampling.speedup_of(fast).record.latest

    plain, _ = draw()
    planned, run = draw(cache="quality")
    assert "plan for euler, 20 steps, measured" in run.source
    assert "stretched" not in run.source
    from skipstep.deepcache import DeepCache

    full = [index for index, kind in enumerate(run.log.kinds) if kind == "F"]
    verbatim, _ = draw(cache=DeepCache(full_evaluations=tuple(full), forecast="verbatim"))
    assert (planned - plain).norm() < 0.5 * (verbatim - plain).norm()
