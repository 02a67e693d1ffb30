"""SoRA: trained, pruned, and written as a LoRA (Ding et al. 2023, arXiv:2311.11696)."""

from __future__ import annotations

from ..sora import Checkpointing, SoraOptions, SoraTraining, attach, rising_schedule, save_lora_folder, train_sora
from .examples import Example
from .job import Job, Trained, TrainingStep, batches, held_out_loss, known, loop_options
from .methods import Sora


def train_gated(job: Job[Example], method: Sora) -> Trained:
    """A LoRA whose ranks were found by gates that close.

    Raises:
        AdapterError: if the loss is not finite; when saving, if no gate is left.
        OptionError: if there are fewer steps than stages.
    """
    model, options = job.trainee.model, job.options
    shape = options.shape(job.steps)
    before = held_out_loss(job, model)
    state = train_sora(
        model,
        batches(job),
        SoraTraining(
            loop=loop_options(job, final_share=0.1),
            schedule=rising_schedule(
                method.penalty, steps=job.steps, stages=method.stages, dense_share=method.dense_share
            ),
            sora=SoraOptions(rank=shape.rank, alpha=shape.alpha, targets=shape.targets, seed=options.seed),
        ),
        progress=lambda made: job.report(TrainingStep(step=made.step, steps=job.steps, loss=made.loss)),
        checkpoints=Checkpointing(path=job.run.checkpoint, every=options.checkpoint_every),
        resume=job.run.newest(),
    )
    with attach(model, state):
        after = held_out_loss(job, model)
    return Trained(
        save=lambda folder: save_lora_folder(state, folder, base_model=""),
        measures=known(held_out_loss_before=before, held_out_loss_after=after, average_rank=state.average_rank()),
    )
