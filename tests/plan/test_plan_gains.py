"""What a sampler makes of an output error: by hand for Euler, by disturbing real runs for all samplers."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMWuerstchenScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from models import NOISE
from torch import Tensor

from skipstep.engine.samplers import SAMPLERS, new_scheduler
from skipstep.errors import UnsupportedModelError
from skipstep.plan import output_gains

PREDICTIONS = ("epsilon", "v_prediction")


def scheduler_of(name: str, prediction: str, steps: int) -> Any:
    scheduler = new_scheduler(name, EulerDiscreteScheduler(**NOISE, prediction_type=prediction).config)
    scheduler.set_timesteps(steps)
    return scheduler


def final_latent(scheduler: Any, outputs: Tensor) -> Tensor:
    """As a pipeline runs it: random latents, noise from one seed, and the outputs given."""
    sampler = copy.deepcopy(scheduler)
    generator = torch.Generator().manual_seed(7)
    latent = torch.randn(outputs[0].shape, generator=generator) * sampler.init_noise_sigma
    accepted = sampler.step.__code__.co_varnames if hasattr(sampler.step, "__code__") else ()
    noise = {"generator": generator} if "generator" in accepted else {}
    for output, timestep in zip(outputs, sampler.timesteps, strict=True):
        sampler.scale_model_input(latent, timestep)
        latent = sampler.step(output, timestep, latent, return_dict=False, **noise)[0]
    return latent


@pytest.mark.parametrize("steps", [2, 9])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_gains_are_those_of_disturbed_runs(name: str, prediction: str, steps: int) -> None:
    scheduler = scheduler_of(name, prediction, steps)
    count = len(scheduler.timesteps)
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(count, 1, 4, 8, 8, generator=generator)
    nudge = torch.randn(1, 4, 8, 8, generator=generator)
    still = final_latent(scheduler, outputs)
    gains = output_gains(scheduler)
    assert len(gains) == count
    for index, gain in enumerate(gains):
        moved = outputs.clone()
        moved[index] += nudge
        change = (final_latent(scheduler, moved) - still).abs()
        if name == "dpm2" and prediction == "epsilon" and index % 2 == 0 and index < count - 1:
            assert change.max() < 1e-4  # rounding; what such an output does to the next input, see below
            assert gain > 0.01
        else:  # float32 latents of about 60, whose rounding heun divides by the smallest noise level
            assert torch.allclose(change, gain * nudge.abs(), rtol=1e-3, atol=2e-4 * max(gains))
    assert max(gains) > 0.03


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_gains_of_euler_by_hand(steps: int) -> None:
    scheduler = scheduler_of("euler", "epsilon", steps)
    sigmas = scheduler.sigmas.tolist()
    assert output_gains(scheduler) == pytest.approx([sigmas[i] - sigmas[i + 1] for i in range(steps)], rel=1e-4)
    assert sigmas[-1] == 0  # so the last gain is the last noise level


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_gains_of_euler_on_v_prediction_by_hand(steps: int) -> None:
    """x' = x + (s' - s) d, where d = (x - x0) / s and x0 = x / (s^2 + 1) - v s / sqrt(s^2 + 1)."""
    scheduler = scheduler_of("euler", "v_prediction", steps)
    sigmas = scheduler.sigmas.tolist()
    kept = [1 + (after - at) * at / (at**2 + 1) for at, after in pairwise(sigmas)]
    added = [(at - after) / math.sqrt(at**2 + 1) for at, after in pairwise(sigmas)]
    expected = [abs(added[index] * math.prod(kept[index + 1 :])) for index in range(steps)]
    assert output_gains(scheduler) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_the_first_half_of_a_step_of_dpm2_counts_by_what_it_does_to_the_next_input() -> None:
    scheduler = scheduler_of("dpm2", "epsilon", 5)
    gains = output_gains(scheduler)
    sigmas, middle = scheduler.sigmas.tolist(), scheduler.sigmas_interpol.tolist()
    for first in range(0, len(gains) - 1, 2):
        start, end, halfway = sigmas[first], sigmas[first + 2], middle[first + 1]
        assert end < halfway < start
        assert gains[first + 1] == pytest.approx(start - end, rel=1e-4)
        expected = gains[first + 1] * (start - halfway) / math.sqrt(halfway**2 + 1)
        assert gains[first] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_scheduler_is_left_as_it_was(name: str) -> None:
    scheduler = scheduler_of(name, "epsilon", 6)
    fresh = output_gains(scheduler)
    latent = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    for timestep in scheduler.timesteps[:3]:  # in the midst of a run
        scheduler.scale_model_input(latent, timestep)
        latent = scheduler.step(latent, timestep, latent, return_dict=False)[0]
    before = copy.deepcopy(vars(scheduler))
    assert output_gains(scheduler) == fresh
    after = vars(scheduler)
    assert before.keys() == after.keys()
    for attribute, value in before.items():
        if isinstance(value, Tensor):
            assert torch.equal(value.nan_to_num(-1), after[attribute].nan_to_num(-1)), attribute
        elif attribute in ("_step_index", "counter", "lower_order_nums", "num_inference_steps"):
            assert value == after[attribute], attribute
    assert before.get("_step_index", 0) is not None or name == "pndm"


@pytest.mark.filterwarnings("ignore:Should have t")  # torchsde, by a rounding
@pytest.mark.parametrize(
    ("scheduler", "reason"),
    [
        (EulerDiscreteScheduler(**NOISE), "euler, dpmpp_2m, ddim"),  # its steps are not set
        (DDPMWuerstchenScheduler(), "num_inference_steps"),
        (FlowMatchEulerDiscreteScheduler(), "scale_model_input"),
        (DDIMScheduler(clip_sample=True), "set clip_sample to False"),
        (DPMSolverMultistepScheduler(thresholding=True), "set thresholding to False"),
        (DPMSolverSDEScheduler(), "noise has no fixed seed"),
        (EulerDiscreteScheduler(**NOISE, prediction_type="score"), "prediction_type given as score"),
    ],
)
def test_a_scheduler_that_cannot_be_run_on_numbers_is_refused(scheduler: Any, reason: str) -> None:
    if reason != "euler, dpmpp_2m, ddim":
        scheduler.set_timesteps(4)
    with pytest.raises(UnsupportedModelError, match=f"^{type(scheduler).__name__} cannot be run on numbers.*") as error:
        output_gains(scheduler)
    assert reason in str(error.value)


def test_timesteps_of_ones_own_are_refused() -> None:
    scheduler = EulerDiscreteScheduler(**NOISE)
    scheduler.set_timesteps(timesteps=[900, 500, 100])
    with pytest.raises(UnsupportedModelError, match="timesteps are not those of a number of steps"):
        output_gains(scheduler)


def test_an_option_that_another_class_left_in_the_configuration_is_no_matter() -> None:
    scheduler = EulerDiscreteScheduler.from_config(DDIMScheduler(**NOISE, clip_sample=True).config)
    plain = EulerDiscreteScheduler(**NOISE)
    assert scheduler.config["clip_sample"] is True
    for one in (scheduler, plain):
        one.set_timesteps(5)
    assert output_gains(scheduler) == output_gains(plain)
