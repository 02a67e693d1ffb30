"""Trains an emulator's outer layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from ..loop import Batch, LoopOptions, accumulate_gradients, each_step, mode
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
) -> None:
    """Train with AdamW, a batch for each step; only the emulator's copies of the trained layers change.

    Raises:
        AdapterError: if the batches end early, or the loss is not finite.
    """
    parameters = emulator.trained_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    with mode(emulator.model, training=True):
        for step, batch in each_step(batches, steps=options.steps):
            loss = accumulate_gradients(emulator.model, batch, parameters, options=options, step=step)
            for group in optimizer.param_groups:
                group["lr"] = options.rate(step)
            optimizer.step()
            optimizer.zero_grad()
            if progress is not None:
                progress(TuningProgress(step=step, loss=loss, rate=options.rate(step)))
