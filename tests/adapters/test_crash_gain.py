"""What training on an emulator is worth in the full model, on a small model that was trained for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from tiny_llm import batches, language, tiny_llama
from torch import Tensor

from skipstep.adapters.crash import (
    Composition,
    Emulator,
    dropping,
    middle_layers,
    outer_layers,
    plug,
    propose,
    trained_outer_layers,
    tune,
)
from skipstep.adapters.loop import LoopOptions, accumulate_gradients, mean_loss

LAYERS, PRETRAINING, TUNING = 8, 300, 60
OUTER = outer_layers(LAYERS)
LANGUAGE = language(1, topics=2)  # what follows a word depends on the first one: the middle layers have work to do


def shifted(seed: int) -> Tensor:
    """A language half way to another one."""
    return 0.5 * LANGUAGE + 0.5 * language(seed, topics=2)


@pytest.fixture(scope="module")
def full() -> Any:
    """A Llama that knows `LANGUAGE`."""
    model = tiny_llama(layers=LAYERS)
    parameters = list(model.parameters())
    options = LoopOptions(steps=PRETRAINING, learning_rate=3e-3, warm_up_steps=20)
    optimizer = torch.optim.AdamW(parameters, lr=0.0)
    for step, batch in enumerate(batches(LANGUAGE, count=PRETRAINING)):
        accumulate_gradients(model, batch, parameters, options=options, step=step)
        optimizer.param_groups[0]["lr"] = options.rate(step)
        optimizer.step()
        optimizer.zero_grad()
    assert mean_loss(model, batches(LANGUAGE, count=4, seed=30_000)) < 2.0  # chance is 3.47, the best 1.83
    return model


@dataclass(frozen=True)
class Gains:
    """Losses on the shifted language: of the full model, after direct tuning, and after tuning on an emulator."""

    zero_shot: float
    direct: float
    plugged: float

    @property
    def kept(self) -> float:
        """The share of direct tuning's gain."""
        return (self.zero_shot - self.plugged) / (self.zero_shot - self.direct)


def plugged_loss(full: Any, composition: Composition, seed: int) -> float:
    emulator = Emulator(full, composition)
    options = LoopOptions(steps=TUNING, learning_rate=2e-3, warm_up_steps=6)
    tune(emulator, batches(shifted(seed), count=TUNING, seed=777), options)
    with plug(full, trained_outer_layers(emulator)):
        return mean_loss(full, batches(shifted(seed), count=8, seed=10_000))


def gains(full: Any, composition: Composition, seed: int = 2) -> Gains:
    held_out = list(batches(shifted(seed), count=8, seed=10_000))
    before = mean_loss(full, held_out)
    whole = dropping(LAYERS, trained=OUTER, kept=middle_layers(LAYERS, OUTER))
    found = Gains(
        zero_shot=before, direct=plugged_loss(full, whole, seed), plugged=plugged_loss(full, composition, seed)
    )
    assert mean_loss(full, held_out) == before
    return found


def test_the_default_emulator_keeps_four_fifths_of_the_gain(full: Any) -> None:
    composition = propose(full, batches(LANGUAGE, count=4, seed=20_000))
    assert len(composition.slots) == LAYERS - 1
    found = gains(full, composition)
    assert found.zero_shot - found.direct > 0.5, found
    assert found.kept >= 0.8, found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_it_does_so_for_other_shifts_too(full: Any, seed: int) -> None:
    found = gains(full, propose(full, batches(LANGUAGE, count=4, seed=20_000)), seed)
    assert found.kept >= 0.8, found


@pytest.mark.slow
def test_fewer_kept_layers_keep_less(full: Any) -> None:
    texts = list(batches(LANGUAGE, count=4, seed=20_000))
    kept = [gains(full, propose(full, texts, keep=keep)).kept for keep in (1, 2, 3)]
    assert kept == sorted(kept), kept
    assert kept[0] < 0.8, kept
