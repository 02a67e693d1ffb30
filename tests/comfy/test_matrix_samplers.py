"""How often each of ComfyUI's samplers calls the model, against the table; and runs too short to reuse much."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from host.models import Sampling, draw, empty_latent
from host.scenes import Studio

from skipstep.deepcache import DeepCache

if TYPE_CHECKING:
    from host.process import Core, Pack

UNKNOWN = {"dpm_fast": "dpm_fast_function", "dpm_adaptive": "dpm_adaptive_function"}  # of noise levels of their own
KINDS = ("euler", "heun", "heunpp2", "seeds_3", "sa_solver_pece", "dpmpp_3m_sde", "uni_pc", "dpm_fast", "dpm_adaptive")


@pytest.fixture(scope="session")
def sampler_run(pack: Pack) -> Any:
    """The table's answer for a SAMPLER and its sigmas."""
    return pack.module("comfy_nodes.sampling.samplers").sampler_run


def counted(studio: Studio, sampler: Any, sigmas: torch.Tensor) -> int:
    """How often a sampler asks for a prediction; the UNet is not run, and every prediction is a pull to zero."""
    count = 0

    def predict(*args: Any) -> Any:
        nonlocal count
        _, _, conds, x, timestep, _ = args
        count += 1
        return [x / (1 + timestep.flatten()[0] ** 2)] * len(conds)

    model = studio.sdxl.model.clone()
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "count", predict)
    noise = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    prompts = (studio.sdxl.positive, studio.sdxl.negative)
    with torch.inference_mode():
        comfy.sample.sample_custom(model, noise, 4.0, sampler, sigmas, *prompts, torch.zeros_like(noise), seed=1)
    return count


@pytest.mark.parametrize("name", comfy.samplers.SAMPLER_NAMES)
def test_the_table_is_what_samplers_do(studio: Studio, sampler_run: Any, name: str) -> None:
    sampler, levels = comfy.samplers.sampler_object(name), studio.sdxl.model.get_model_object("model_sampling")
    for steps in (1, 2, 3, 5):
        whole = comfy.samplers.calculate_sigmas(levels, "normal", steps + 1)
        for sigmas in (torch.cat([whole[:steps], torch.zeros(1)]), whole[: steps + 1]):
            run = sampler_run(sampler, sigmas.tolist())
            assert run.steps == steps
            if name in UNKNOWN:
                assert run.evaluations is None
                assert run.name == UNKNOWN[name]
            else:
                assert counted(studio, sampler, sigmas) == run.evaluations, f"{steps} steps to {sigmas[-1]}"
                assert steps <= run.evaluations <= steps * run.evaluations_per_step
                assert (run.log_sigmas is None) == (run.evaluations != steps)


def test_adaptive_samplers_take_as_many_as_they_like(studio: Studio) -> None:
    sampler = comfy.samplers.sampler_object("dpm_adaptive")
    assert counted(studio, sampler, torch.tensor([14.0, 1.0, 0.1])) > 10
    assert counted(studio, sampler, torch.tensor([14.0, 0.0])) == 0


def test_a_sampler_of_another_pack_is_unknown(studio: Studio, sampling: Any, sampler_run: Any) -> None:
    def sample_backwards(model: Any, x: Any, sigmas: Any, extra_args: Any, **_: Any) -> Any:
        for sigma in sigmas[:-1]:
            x = (x + model(x, sigma * x.new_ones(len(x)), **extra_args)) / 2
        return x

    sampler = comfy.samplers.KSAMPLER(sample_backwards)
    assert sampler_run(sampler, [3.0, 2.0, 1.0, 0.0]).evaluations is None
    assert sampler_run(comfy.samplers.Sampler(), [3.0, 2.0, 0.0]).name == "Sampler"
    model = sampling.speed_up(studio.sdxl.model, cache="balanced")
    noise, prompts = torch.randn(1, 4, 8, 8), (studio.sdxl.positive, studio.sdxl.negative)
    with torch.inference_mode():
        sigmas = torch.linspace(7, 0, 8)
        comfy.sample.sample_custom(model, noise, 4.0, sampler, sigmas, *prompts, torch.zeros_like(noise), seed=1)
    latest = sampling.speedup_of(model).record.latest
    assert latest.log.kinds == "FrrFrrF"
    assert latest.source == "balanced, evenly: backwards does not tell its length"


@pytest.mark.parametrize("cache", ["fast", "lossless", DeepCache(interval=3)], ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_short_runs(core: Core, studio: Studio, sampling: Any, name: str, cache: Any) -> None:
    for steps in (1, 2) if name != "dpm_adaptive" else (1,):
        run = Sampling(steps=steps, sampler_name=name)
        model = sampling.speed_up(studio.sdxl.model, cache=cache)
        drawn = draw(core, replace(studio.sdxl, model=model), latent=empty_latent(width=64, height=64), sampling=run)
        assert drawn.isfinite().all()
        assert drawn.std() > 1e-2
        latest = sampling.speedup_of(model).record.latest
        assert (latest is None) == (name == "dpm_adaptive")  # which has nothing to do then
        assert latest is None or latest.log.kinds.startswith("F")
