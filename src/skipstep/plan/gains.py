"""How much of an output error at each evaluation a sampler carries into the final latent."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UnsupportedModelError


@dataclass(frozen=True, slots=True)
class SamplerPath:
    """What the UNet is given at each evaluation of a run on numbers, and what the run ends with."""

    inputs: tuple[float, ...]
    final: float


def output_gains(scheduler: Any) -> tuple[float, ...]:
    """|d final latent / d UNet output|, one per evaluation of a diffusers scheduler whose steps are set.

    Samplers are linear in the UNet's outputs, so they are run on numbers: once with outputs 0, and once with output 1
    at each evaluation. What the network itself makes of an error later on is left out; on the demo model the product
    of these gains and the measured output errors foretold the final error of single gaps within a factor of two
    (docs/forecast.md). Only where an output serves nothing but the next evaluation's input (the first half of a step
    of dpm2), the network is taken to pass a change of its input on one to one.

    Raises:
        UnsupportedModelError: if the scheduler cannot be run on numbers.
    """
    return path_gains(lambda disturbed: _run(scheduler, disturbed), type(scheduler).__name__)


def path_gains(run: Callable[[int | None], SamplerPath], name: str) -> tuple[float, ...]:
    """The same for any sampler: `run` gives its path with outputs 0, but 1 at the evaluation that it is told.

    Raises:
        UnsupportedModelError: if it cannot be run so, under its `name`.
    """
    try:
        still = run(None)
        if run(None) != still:
            raise ValueError("its noise has no fixed seed")
        gains: list[float] = []  # last evaluation first
        for index in reversed(range(len(still.inputs))):
            moved = run(index)
            gain = abs(moved.final - still.final)
            if gain == 0 and gains:
                gain = abs(moved.inputs[index + 1] - still.inputs[index + 1]) * gains[-1]
            gains.append(gain)
        return tuple(reversed(gains))
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise UnsupportedModelError(
            f"{name} cannot be run on numbers ({error}); plans are for samplers like euler, dpmpp_2m, ddim, heun and "
            "unipc"
        ) from error


def _run(scheduler: Any, disturbed: int | None) -> SamplerPath:
    """A run whose outputs are all 0 but one."""
    sampler = copy.deepcopy(scheduler)
    sampler.set_timesteps(sampler.num_inference_steps)
    if not torch.equal(sampler.timesteps.cpu(), scheduler.timesteps.cpu()):
        raise ValueError("its timesteps are not those of a number of steps")
    for option in ("clip_sample", "thresholding"):  # a config keeps options of other classes too
        if sampler.config.get(option) and option in inspect.signature(type(sampler).__init__).parameters:
            raise ValueError(f"it clips the picture; set {option} to False")
    latent = torch.ones(1, 1, 2, 2)
    noise = {"generator": torch.Generator().manual_seed(0)} if _takes_noise(sampler) else {}
    inputs: list[float] = []
    for index, timestep in enumerate(sampler.timesteps):
        inputs.append(float(sampler.scale_model_input(latent, timestep).mean()))
        output = torch.full_like(latent, 1.0 if index == disturbed else 0.0)
        latent = sampler.step(output, timestep, latent, return_dict=False, **noise)[0]
    return SamplerPath(tuple(inputs), float(latent.mean()))


def _takes_noise(sampler: Any) -> bool:
    return "generator" in inspect.signature(sampler.step).parameters
