"""SoRA learns, becomes sparser as the penalty rises, and goes on after an interruption in the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_llm import batches, language, tiny_llama

from skipstep.adapters.loop import LoopOptions, mean_loss
from skipstep.adapters.sora import (
    Checkpointing,
    SoraProgress,
    SoraState,
    SoraTraining,
    attach,
    load_checkpoint,
    rising_schedule,
    train_sora,
)
from skipstep.errors import AdapterError, OptionError, OutputError

LANGUAGE = language(1)
STEPS = 60


def settings(penalty: float, *, steps: int = STEPS, **options: Any) -> SoraTraining:
    return SoraTraining(
        loop=LoopOptions(steps=steps, learning_rate=1e-2, warm_up_steps=5),
        schedule=rising_schedule(penalty, steps=steps),
        **options,
    )


def same(one: SoraState, other: SoraState) -> bool:
    """Bit for bit."""
    return all(
        torch.equal(getattr(factors, part), getattr(other.modules[name], part))
        for name, factors in one.modules.items()
        for part in ("down", "gate", "up")
    )


def test_ranks_fall_as_the_penalty_rises_and_the_loss_stays_below_the_bases() -> None:
    model = tiny_llama()
    held_out = list(batches(LANGUAGE, count=4, seed=10_000))
    before, weights = mean_loss(model, held_out), {name: v.clone() for name, v in model.state_dict().items()}
    found = []
    for penalty in (0.0, 2.0, 4.0, 8.0):
        state = train_sora(model, batches(LANGUAGE, count=STEPS), settings(penalty))
        with attach(model, state):
            found.append((state.average_rank(), mean_loss(model, held_out)))
    ranks = [rank for rank, _ in found]
    assert ranks[0] == 8
    assert ranks == sorted(set(ranks), reverse=True), ranks
    assert found[0][1] < before - 0.8
    assert all(loss < before - 0.3 for _, loss in found), (before, found)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("rule", ["adam", "gradient"])
def test_progress_tells_of_every_step(rule: Any) -> None:
    told: list[SoraProgress] = []
    training = settings(30.0, steps=12, gate_rule=rule)
    state = train_sora(tiny_llama(), batches(LANGUAGE, count=12), training, progress=told.append)
    assert [step.step for step in told] == list(range(12))
    assert [step.rate for step in told] == [training.loop.rate(step) for step in range(12)]
    assert [step.penalty for step in told] == [training.schedule.penalty(step) for step in range(12)]
    assert told[2].average_rank == 8  # the dense phase
    assert told[-1].average_rank == state.average_rank() < 8


class Interrupted(Exception):
    """Stands for a run that was killed."""


@pytest.mark.parametrize("rule", ["adam", "gradient"])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, rule: Any) -> None:
    training, path = settings(8.0, steps=20, gate_rule=rule), tmp_path / "run.safetensors"
    model = tiny_llama()
    whole = train_sora(model, batches(LANGUAGE, count=20), training)

    def interrupt(progress: SoraProgress) -> None:
        if progress.step == 11:
            raise Interrupted

    modules = [id(module) for module in model.modules()]
    with pytest.raises(Interrupted):
        train_sora(
            model,
            batches(LANGUAGE, count=20),
            training,
            progress=interrupt,
            checkpoints=Checkpointing(path=path, every=5),
        )
    assert [id(module) for module in model.modules()] == modules
    assert load_checkpoint(path).step == 10
    torch.manual_seed(99)  # another process would be elsewhere
    resumed = train_sora(tiny_llama(), batches(LANGUAGE, count=20), training, resume=path)
    assert same(resumed, whole)
    assert not same(load_checkpoint(path).state, whole)
    assert not same(train_sora(model, batches(LANGUAGE, count=20, seed=1), training), whole)


def test_a_checkpoint_of_other_options_is_refused(tmp_path: Path) -> None:
    path, training = tmp_path / "run.safetensors", settings(1.0, steps=6)
    train_sora(tiny_llama(), batches(LANGUAGE, count=6), training, checkpoints=Checkpointing(path=path, every=6))
    other = replace(training, weight_decay=0.1)
    with pytest.raises(AdapterError, match=r"is of a run with .*\"weight_decay\": 0.0.*resume it with these options"):
        train_sora(tiny_llama(), batches(LANGUAGE, count=6), other, resume=path)


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    training, path = settings(1.0, steps=6), tmp_path / "run.safetensors"
    with pytest.raises(AdapterError, match="^run.safetensors: cannot be read"):
        train_sora(tiny_llama(), [], training, resume=path)
    path.write_bytes(b"garbage!" * 4)
    with pytest.raises(AdapterError, match="^run.safetensors: is no safetensors file or was cut off"):
        load_checkpoint(path)
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(AdapterError, match=r"is not a checkpoint of a SoRA run \(skipstep-sora-1\)"):
        load_checkpoint(path)


def test_batches_that_end_early_and_places_that_cannot_be_written(tmp_path: Path) -> None:
    model, training = tiny_llama(), settings(1.0, steps=6)
    with pytest.raises(AdapterError, match="the batches ended after 4 of 6 steps"):
        train_sora(model, batches(LANGUAGE, count=4), training)
    nowhere = Checkpointing(path=tmp_path / "missing" / "run.safetensors", every=1)
    with pytest.raises(OutputError, match="cannot write"):
        train_sora(model, batches(LANGUAGE, count=6), training, checkpoints=nowhere)
    with pytest.raises(OptionError, match="every 1 or more steps, got 0"):
        Checkpointing(path=tmp_path, every=0)
