"""Trains SoRA on batches of tokens, from the start or from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import nn

from ...errors import AdapterError
from ..loop import Batch, LoopOptions, accumulate_gradients, each_step, mode
from ..loop_checkpoint import Checkpointing
from .checkpoint import SoraCheckpoint, load_checkpoint, save_checkpoint
from .gates import AttachedSora, attach
from .initial import SoraOptions, initial_state
from .proximal import GateRule, SoraOptimizer
from .schedule import SparsitySchedule
from .state import SoraState


@dataclass(frozen=True, kw_only=True)
class SoraTraining:
    """What is trained, for how long, and how sparse it becomes."""

    loop: LoopOptions
    schedule: SparsitySchedule
    sora: SoraOptions = field(default_factory=SoraOptions)
    gate_rule: GateRule = "adam"
    weight_decay: float = 0.0

    def settings(self) -> str:
        """All options as text, which a checkpoint keeps."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class SoraProgress:
    """One step that was made, counted from 0: its loss before the update, and the gates that are left after it."""

    step: int
    loss: float
    rate: float
    penalty: float
    average_rank: float


def train_sora(
    model: nn.Module,
    batches: Iterable[Batch],
    training: SoraTraining,
    *,
    progress: Callable[[SoraProgress], None] | None = None,
    checkpoints: Checkpointing | None = None,
    resume: Path | None = None,
) -> SoraState:
    """What SoRA learned on a causal LM of transformers, which is then as it was found.

    One batch is taken for each step. A resumed run must be given the same batches from the start: it skips those that
    it has seen, and ends in the same bits as a run that was never interrupted.

    Raises:
        AdapterError: if the batches end early, the loss is not finite, or the checkpoint is of other options.
        OutputError: if a checkpoint cannot be written.
    """
    if resume is None:
        start = SoraCheckpoint(
            state=initial_state(model, training.sora), moments={}, step=0, settings=training.settings()
        )
    else:
        start = load_checkpoint(resume)
        if start.settings != training.settings():
            raise AdapterError(f"{resume} is of a run with {start.settings}; resume it with these options")
    with attach(model, start.state) as attached, mode(model, training=True):
        optimizer = SoraOptimizer(
            attached.matrices(), attached.gates(), gate_rule=training.gate_rule, weight_decay=training.weight_decay
        )
        if start.moments:
            optimizer.load(start.moments)
        for step, batch in each_step(batches, first=start.step, steps=training.loop.steps):
            made = _step(attached, optimizer, batch, training=training, step=step)
            if checkpoints is not None and (step + 1) % checkpoints.every == 0:
                save_checkpoint(
                    SoraCheckpoint(
                        state=attached.state(), moments=optimizer.tensors(), step=step + 1, settings=start.settings
                    ),
                    checkpoints.path,
                )
            if progress is not None:
                progress(made)
        return attached.state()


def _step(
    attached: AttachedSora, optimizer: SoraOptimizer, batch: Batch, *, training: SoraTraining, step: int
) -> SoraProgress:
    parameters = [*attached.matrices(), *attached.gates()]
    loss = accumulate_gradients(attached.model, batch, parameters, options=training.loop, step=step)
    rate, penalty = training.loop.rate(step), training.schedule.penalty(step)
    optimizer.step(rate, penalty)
    left = sum(int(gate.count_nonzero()) for gate in attached.gates())
    return SoraProgress(step=step, loss=loss, rate=rate, penalty=penalty, average_rank=left / len(attached.gates()))
