"""Trains an emulator's outer layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch

from ..loop import Batch, LoopOptions, accumulate_gradients, each_step, mode
from ..loop_checkpoint import Checkpointing, load_place, save_place
from .emulator import Emulator


@dataclass(frozen=True, kw_only=True)
class TuningProgress:
    """One step that was made, counted from 0: its loss before the update."""

    step: int
    loss: float
    rate: float


def tune(
    emulator: Emulator,
    batches: Iterable[Batch],
    options: LoopOptions,
    *,
    progress: Callable[[TuningProgress], None] | None = None,
    checkpoints: Checkpointing | None = None,
) -> None:
    """Train with AdamW, a batch for each step; only the emulator's copies of the trained layers change.

    Where the file of `checkpoints` is there already, the run goes on from it: it must be given the same batches from
    the start, and ends in the same bits as one that was never interrupted.

    Raises:
        AdapterError: if the batches end early, the loss is not finite, or the checkpoint is of other options.
        OutputError: if a checkpoint cannot be written.
    """
    parameters = emulator.trained_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    named = {str(number): parameter for number, parameter in enumerate(parameters)}
    settings = json.dumps({**asdict(options), **asdict(emulator.composition)}, sort_keys=True)
    first = 0
    if checkpoints is not None and checkpoints.path.is_file():
        first = load_place(checkpoints.path, named, optimizer, settings=settings)
    with mode(emulator.model, training=True):
        for step, batch in each_step(batches, first=first, steps=options.steps):
            loss = accumulate_gradients(emulator.model, batch, parameters, options=options, step=step)
            for group in optimizer.param_groups:
                group["lr"] = options.rate(step)
            optimizer.step()
            optimizer.zero_grad()
            if checkpoints is not None and (step + 1) % checkpoints.every == 0:
                save_place(checkpoints.path, named, optimizer, step=step + 1, settings=settings)
            if progress is not None:
                progress(TuningProgress(step=step, loss=loss, rate=options.rate(step)))
