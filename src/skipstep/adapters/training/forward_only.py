"""MeZO: training by forward passes alone, with noise that is drawn again instead of kept.

Malladi et al. 2023, arXiv:2305.17333, algorithm 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...errors import AdapterError, MissingExtraError
from ..loop import Batch, LoopOptions, batch_loss, each_step, mode
from ..loop_checkpoint import Checkpointing, load_place, save_place
from .examples import Example
from .job import Job, Trained, TrainingStep, batches, held_out_loss, known, loop_options
from .kinds import TRAIN, peft_config
from .methods import Mezo
from .saving import measured, saver


def train_forward_only(job: Job[Example], method: Mezo) -> Trained:
    """An adapter of PEFT that was trained without gradients, in the memory of generating text.

    Raises:
        AdapterError: if a loss is not finite.
        MissingExtraError: without PEFT.
    """
    try:
        from peft import get_peft_model
    except ImportError as error:
        raise MissingExtraError(TRAIN.format(error.name)) from error
    before = held_out_loss(job, job.trainee.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.options.seed)
        model: Any = get_peft_model(job.trainee.model, peft_config(method.kind, job.options.shape(job.steps)))
    descend(
        model,
        batches(job),
        loop_options(job, final_share=1.0),
        epsilon=method.epsilon,
        checkpoints=Checkpointing(path=job.run.checkpoint, every=job.options.checkpoint_every),
        report=lambda step, loss: job.report(TrainingStep(step=step, steps=job.steps, loss=loss)),
    )
    after = held_out_loss(job, measured(model))
    return Trained(
        save=saver(model),
        measures=known(held_out_loss_before=before, held_out_loss_after=after),
    )


def descend(
    model: Any,
    found: Iterable[Batch],
    options: LoopOptions,
    *,
    epsilon: float,
    checkpoints: Checkpointing,
    report: Callable[[int, float], None],
) -> None:
    """Move the model's trainable parameters by `options.steps` steps of SPSA, from the checkpoint if there is one.

    A step draws z from N(0, 1) by a seed of its own, and moves by -rate (l(p + epsilon z) - l(p - epsilon z)) /
    (2 epsilon) z. The reported loss is the mean of the two.

    Raises:
        AdapterError: if a loss is not finite.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    settings = json.dumps({**asdict(options), "epsilon": epsilon}, sort_keys=True)
    first = load_place(checkpoints.path, parameters, None, settings=settings) if checkpoints.path.is_file() else 0
    with torch.no_grad(), mode(model, training=False):
        for step, batch in each_step(found, first=first, steps=options.steps):
            seed = options.seed * 1_000_003 + step
            _move(parameters, seed, epsilon)
            above = float(batch_loss(model, batch))
            _move(parameters, seed, -2 * epsilon)
            below = float(batch_loss(model, batch))
            if not (math.isfinite(above) and math.isfinite(below)):
                raise AdapterError(
                    f"the loss is {above} and {below} at step {step}; use a learning rate below "
                    f"{options.learning_rate:g}"
                )
            _move(parameters, seed, epsilon)
            _move(parameters, seed, -options.rate(step) * (above - below) / (2 * epsilon))
            if (step + 1) % checkpoints.every == 0:
                save_place(checkpoints.path, parameters, None, step=step + 1, settings=settings)
            report(step, (above + below) / 2)


def _move(parameters: Mapping[str, Tensor], seed: int, distance: float) -> None:
    """Add `distance` times the noise of a seed; the same noise each time."""
    generators: dict[torch.device, torch.Generator] = {}
    for parameter in parameters.values():
        device = parameter.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        noise = torch.randn(parameter.shape, generator=generators[device], device=device, dtype=parameter.dtype)
        parameter.add_(noise, alpha=distance)
