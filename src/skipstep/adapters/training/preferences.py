"""Direct preference optimisation with TRL's trainer (Rafailov et al. 2023, arXiv:2305.18290)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import MissingExtraError
from .examples import Pair
from .job import Job, Trained, known
from .kinds import TRAIN, peft_config
from .methods import Dpo
from .saving import saver
from .trainers import rows, run_trainer, silent, trainer_arguments


def train_preferences(job: Job[Pair], method: Dpo) -> Trained:
    """An adapter of PEFT that prefers the better answers; the model without it is the reference.

    Measured are the loss, which is log 2 before training, and the share of pairs whose better answer became likelier
    than the other, by comparison with the reference.

    Raises:
        AdapterError: if the loss is not finite.
        MissingExtraError: without TRL or PEFT.
    """
    try:
        from trl.trainer.dpo_config import DPOConfig
        from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer
    except ImportError as error:
        raise MissingExtraError(TRAIN.format(error.name)) from error
    # its own preparation is for texts, and these are tokens
    as_they_are = lambda _self, dataset, *_: dataset  # noqa: E731
    trainer = silent(DPOTrainer, _prepare_dataset=as_they_are)(
        model=job.trainee.model,
        args=DPOConfig(**trainer_arguments(job), beta=method.beta, max_length=None),
        processing_class=job.trainee.tokenizer,
        train_dataset=_rows(job.learned),
        data_collator=DataCollatorForPreference(pad_token_id=job.trainee.pad),
        peft_config=peft_config(method.kind, job.options.shape(job.steps)),
    )
    run_trainer(trainer, job)
    model = trainer.model
    found = trainer.evaluate(_rows(job.held_out)) if job.held_out else {}
    return Trained(
        save=saver(model),
        measures=known(held_out_loss=found.get("eval_loss"), held_out_accuracy=found.get("eval_rewards/accuracies")),
    )


def _rows(pairs: Sequence[Pair]) -> Any:
    return rows(
        [{"prompt_ids": pair.prompt, "chosen_ids": pair.chosen, "rejected_ids": pair.rejected} for pair in pairs]
    )
