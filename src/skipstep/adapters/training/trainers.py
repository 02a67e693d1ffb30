"""Runs of TRL's trainers: small, quiet, local, and resumed from checkpoints that are whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import AdapterError, MissingExtraError
from .job import Job, TrainingStep
from .kinds import TRAIN
from .run_folder import WHOLE


def trainer_arguments(job: Job[Any]) -> dict[str, Any]:
    """What TRL's configurations have in common: float32, one process, no reports, no uploads, no model from a hub."""
    options = job.options
    return {
        "output_dir": str(job.run.path),
        "max_steps": job.steps,
        "per_device_train_batch_size": options.batch,
        "per_device_eval_batch_size": options.batch,
        "learning_rate": options.rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": options.warm_up_steps,
        "weight_decay": 0.0,
        "optim": "adamw_torch",
        "seed": options.seed,
        "data_seed": options.seed,
        "bf16": False,
        "fp16": False,
        "gradient_checkpointing": False,
        "use_cpu": options.device == "cpu",
        "dataloader_pin_memory": options.device != "cpu",
        "remove_unused_columns": False,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if options.kind.resumes else "no",
        "save_steps": options.checkpoint_every,
        "save_total_limit": 2,
        "report_to": "none",
        "push_to_hub": False,
        "disable_tqdm": True,
    }


def silent(trainer: Any, **methods: Any) -> Any:
    """A trainer's class without TRL's telemetry and model cards, and with other `methods`."""
    nothing = lambda *_, **__: None  # noqa: E731
    return type(trainer.__name__, (trainer,), {"_send_telemetry": nothing, "create_model_card": nothing, **methods})


def rows(items: Sequence[Mapping[str, Any]]) -> Any:
    """A data set in memory, as the trainers take it.

    Raises:
        MissingExtraError: without datasets, which comes with TRL.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise MissingExtraError(TRAIN.format(error.name)) from error
    return Dataset.from_list([dict(item) for item in items])


def run_trainer(trainer: Any, job: Job[Any]) -> None:
    """Train to the end, from the newest whole checkpoint if there is one.

    Raises:
        AdapterError: if the loss is not finite.
        KeyboardInterrupt: whole checkpoints stay.
    """
    from transformers import PrinterCallback

    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL has those over a quantised model in bfloat16
            parameter.data = parameter.data.to(torch.float32)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_follower(job))
    newest = job.run.newest()
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))


def _follower(job: Job[Any]) -> Any:
    """A callback that reports steps, marks whole checkpoints, and has AdaLoRA give ranks away."""
    from transformers import TrainerCallback

    def on_log(_self: Any, _arguments: Any, state: Any, _control: Any, *, logs: Mapping[str, Any], **_: Any) -> None:
        loss = logs.get("loss")
        if loss is None:
            return
        if not math.isfinite(float(loss)):
            raise AdapterError(
                f"the loss is {loss} at step {state.global_step - 1}; use a learning rate below {job.options.rate:g}"
            )
        job.report(TrainingStep(step=state.global_step - 1, steps=job.steps, loss=float(loss)))

    def on_save(_self: Any, arguments: Any, state: Any, _control: Any, **_: Any) -> None:
        (Path(arguments.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()

    def on_optimizer_step(_self: Any, _arguments: Any, state: Any, _control: Any, *, model: Any, **_: Any) -> None:
        tuner: Any = getattr(model, "base_model", None)
        if hasattr(tuner, "update_and_allocate"):
            tuner.update_and_allocate(state.global_step)

    methods = {"on_log": on_log, "on_save": on_save, "on_optimizer_step": on_optimizer_step}
    return type("Follower", (TrainerCallback,), methods)()
