"""Offsite-tuning: outer layers that were trained on an emulator, measured in the full model (docs/crash.md)."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ...errors import OptionError
from ...whole import output_errors, write_whole
from ..crash import Emulator, decoder_layers, outer_layers, plug, propose, save_outer_layers, trained_outer_layers, tune
from ..folder import SIDECAR
from ..loop_checkpoint import Checkpointing
from ..sidecar import sidecar_bytes
from .examples import Example
from .job import Job, Trained, TrainingStep, batches, held_out_loss, known, loop_options
from .methods import Offsite

OUTER = "outer_layers.safetensors"
TEXTS = 8  # batches that layers are compared on


def train_outer(job: Job[Example], method: Offsite) -> Trained:
    """The outer layers, and the full model's loss with them.

    Raises:
        AdapterError: if the loss is not finite.
        OptionError: if nothing is held out, or the model has too few layers.
    """
    if not job.held_out:
        raise OptionError("offsite measures the full model on held-out data: give some, or 20 examples or more")
    full = job.trainee.model
    before = held_out_loss(job, full)
    composition = propose(
        full,
        islice(batches(job), TEXTS),
        trained=outer_layers(len(decoder_layers(full)), bottom=method.bottom, top=method.top),
        keep=method.keep,
        selection=method.selection,
        removed=method.removed,
    )
    emulator = Emulator(full, composition)
    emulated = held_out_loss(job, emulator.model)
    tune(
        emulator,
        batches(job),
        loop_options(job, final_share=0.1),
        progress=lambda made: job.report(TrainingStep(step=made.step, steps=job.steps, loss=made.loss)),
        checkpoints=Checkpointing(path=job.run.checkpoint, every=job.options.checkpoint_every),
    )
    with plug(full, trained_outer_layers(emulator)):
        plugged = held_out_loss(job, full)

    def save(folder: Path) -> None:
        save_outer_layers(emulator, folder / OUTER, dtype=job.options.dtype)
        with output_errors(folder):
            write_whole(folder / SIDECAR, sidecar_bytes(job.trainee.base.fingerprint))

    return Trained(
        save=save,
        measures=known(
            layers_of_the_emulator=float(len(composition.slots)),
            emulator_loss_before=emulated,
            emulator_loss_after=held_out_loss(job, emulator.model),
            held_out_loss_before=before,
            held_out_loss_plugged=plugged,
        ),
    )
