"""The noise levels of a sampler's evaluations, against the formulas that its steps are made by."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from models import NOISE, sd15_pipeline
from runs import sample
from torch import Tensor

from skipstep import DeepCache, speed_up
from skipstep.deepcache import FeatureHistory, Position
from skipstep.deepcache._noise import NoiseLevels, log_sigmas

SAMPLERS = {
    "EulerDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "DDIMScheduler": {},
    "HeunDiscreteScheduler": {},
    "UniPCMultistepScheduler": {},
    "PNDMScheduler": {"skip_prk_steps": True},
    "LCMScheduler": {},
}
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
KEPT = np.cumprod(1 - BETAS)
SIGMAS = ((1 - KEPT) / KEPT) ** 0.5  # noise over signal at each of the timesteps that the model was trained on

ROUNDED = 5e-5  # samplers keep 1 - alpha in float32, and the least is 0.00085


def scheduler_of(name: str, steps: int = 10, **options: Any) -> Any:
    scheduler = getattr(diffusers, name)(**{**NOISE, **SAMPLERS.get(name, {}), **options})
    scheduler.set_timesteps(steps)
    return scheduler


def at_timesteps(timesteps: Any) -> np.ndarray:
    return np.log(np.interp(np.asarray(timesteps, dtype=np.float64), np.arange(1000), SIGMAS))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_levels_are_those_of_the_timesteps(name: str) -> None:
    scheduler = scheduler_of(name)
    levels = log_sigmas(scheduler)
    assert levels is not None
    np.testing.assert_allclose(levels, at_timesteps(scheduler.timesteps), atol=ROUNDED)
    assert levels[0] > levels[-1] + 2
    assert len(levels) == {"HeunDiscreteScheduler": 19, "PNDMScheduler": 11}.get(name, 10)


def test_karras_levels_are_the_samplers_own_and_not_those_of_its_rounded_timesteps() -> None:
    levels = log_sigmas(scheduler_of("DPMSolverMultistepScheduler", use_karras_sigmas=True))
    high, low = SIGMAS[-1] ** (1 / 7), SIGMAS[0] ** (1 / 7)
    np.testing.assert_allclose(
        levels, 7 * np.log(np.linspace(high, low, 10)), atol=ROUNDED
    )  # Karras et al. 2022, eq. 5


@pytest.mark.parametrize("name", ["KDPM2DiscreteScheduler", "DPMSolverSDEScheduler"])
def test_samplers_with_evaluations_between_their_levels_do_not_tell(name: str) -> None:
    scheduler = scheduler_of(name)
    assert not np.allclose(np.log(scheduler.sigmas[1:18]), at_timesteps(scheduler.timesteps[1:18]), atol=0.1)
    assert log_sigmas(scheduler) is None


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        SimpleNamespace(timesteps=None, sigmas=torch.ones(3)),
        SimpleNamespace(timesteps=torch.ones(3, 2), sigmas=torch.ones(3)),
        SimpleNamespace(timesteps=torch.arange(3)),
        SimpleNamespace(timesteps=torch.arange(3), sigmas=torch.ones(2), alphas_cumprod=[0.1]),
        SimpleNamespace(timesteps=torch.arange(3), sigmas=torch.tensor([1.0, float("nan"), 0.5])),
    ],
)
def test_what_says_no_noise_levels_has_none(scheduler: Any) -> None:
    assert log_sigmas(scheduler) is None
    assert NoiseLevels(scheduler).at(torch.tensor(1), 0) is None
    assert NoiseLevels(scheduler).of_run(1, torch.tensor(1), 0) is None


def test_a_level_of_zero_has_a_logarithm_and_so_has_one_without_signal() -> None:
    ends = SimpleNamespace(timesteps=torch.arange(2), alphas_cumprod=torch.tensor([0.0, 1.0]))
    levels = log_sigmas(ends)
    assert levels == pytest.approx((np.log(1e6), np.log(1e-6)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_call_is_placed_by_the_memory_of_its_timestep(name: str) -> None:
    scheduler = scheduler_of(name)
    levels = NoiseLevels(scheduler)
    assert levels.levels is not None
    for index, timestep in enumerate(scheduler.timesteps):
        assert levels.at(timestep, None) == levels.levels[index]
        assert levels.at(timestep.expand(2), 0) == levels.levels[index]  # the memory counts, not what the sampler says
    for index, timestep in enumerate(scheduler.timesteps[4:]):  # img2img begins late
        assert levels.at(timestep, None) == levels.levels[4 + index]


def test_a_timestep_of_its_own_is_placed_by_the_samplers_step() -> None:
    scheduler = scheduler_of("EulerDiscreteScheduler")
    levels = NoiseLevels(scheduler)
    assert levels.levels is not None
    for timestep in (scheduler.timesteps[3].clone(), scheduler.timesteps[3].double(), 666, None):
        assert levels.at(timestep, 3) == levels.levels[3]
        assert levels.at(timestep, None) is levels.at(timestep, 10) is levels.at(timestep, -1) is None


def test_the_levels_of_a_run_are_as_many_from_its_first_call_on() -> None:
    scheduler = scheduler_of("DDIMScheduler")
    levels = NoiseLevels(scheduler)
    assert levels.levels is not None
    assert levels.of_run(10, scheduler.timesteps[0], None) == levels.levels
    assert levels.of_run(7, scheduler.timesteps[3], None) == levels.levels[3:]
    assert (
        levels.of_run(7, scheduler.timesteps[0], None) == levels.levels[:7]
    )  # a base model that hands on to a refiner
    assert levels.of_run(7, scheduler.timesteps[1].clone(), 1) == levels.levels[1:8]
    assert levels.of_run(8, scheduler.timesteps[3], None) is None  # more than are left
    assert levels.of_run(8, scheduler.timesteps[3].clone(), None) is None


class Noting:
    """A verbatim forecast that notes where it is asked for the features."""

    history_size = 1

    def __init__(self) -> None:
        self.known: list[tuple[Position, Position]] = []

    def predict(self, history: FeatureHistory, at: Position) -> Tensor:
        self.known.append((history[-1][0], at))
        return history[-1][1]


@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DDIMScheduler", "HeunDiscreteScheduler"])
def test_a_pipelines_forecast_is_told_the_level_of_each_call(kind: str, name: str) -> None:
    pipe, forecast, timesteps = sd15_pipeline(kind), Noting(), []
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
    bound = inspect.signature(pipe.unet.forward).bind
    note = lambda _, args, kwargs: timesteps.append(float(bound(*args, **kwargs).arguments["timestep"]))  # noqa: E731
    pipe.unet.register_forward_pre_hook(note, with_kwargs=True)
    with speed_up(pipe, DeepCache(interval=3, forecast=forecast)):
        sample(pipe, steps=16)
    expected = at_timesteps(timesteps)
    assert len(forecast.known) >= 8
    assert (timesteps[0] < 800) == (kind == "img2img")
    for last, at in forecast.known:
        assert last.log_sigma == pytest.approx(expected[last.evaluation], abs=ROUNDED)
        assert at.log_sigma == pytest.approx(expected[at.evaluation], abs=ROUNDED)
