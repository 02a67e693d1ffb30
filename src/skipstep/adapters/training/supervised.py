"""Supervised fine-tuning with TRL's trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import MissingExtraError
from ..loop import Batch
from .examples import Example, padded
from .job import Job, Trained, held_out_loss, known
from .kinds import TRAIN, peft_config
from .methods import Sft
from .saving import measured, saver
from .trainers import rows, run_trainer, silent, trainer_arguments


def train_supervised(job: Job[Example], method: Sft) -> Trained:
    """An adapter of PEFT that has learned the examples' labels.

    Raises:
        AdapterError: if the loss is not finite.
        MissingExtraError: without TRL or PEFT.
    """
    try:
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer
    except ImportError as error:
        raise MissingExtraError(TRAIN.format(error.name)) from error

    def collate(found: Sequence[Mapping[str, Any]]) -> Batch:
        listed = [Example(ids=tuple(row["input_ids"]), labels=tuple(row["labels"])) for row in found]
        return padded(listed, pad=job.trainee.pad)

    before = held_out_loss(job, job.trainee.model)
    trainer = silent(SFTTrainer)(
        model=job.trainee.model,
        args=SFTConfig(**trainer_arguments(job), dataset_kwargs={"skip_prepare_dataset": True}),
        processing_class=job.trainee.tokenizer,
        train_dataset=rows([{"input_ids": example.ids, "labels": example.labels} for example in job.learned]),
        data_collator=collate,
        peft_config=peft_config(method.kind, job.options.shape(job.steps)),
    )
    run_trainer(trainer, job)
    model = trainer.model
    after = held_out_loss(job, measured(model))
    return Trained(
        save=saver(model),
        measures=known(held_out_loss_before=before, held_out_loss_after=after),
    )
