"""MeZO's steps, compared with the formula; and that noise is drawn again instead of kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_llm import batches, language, tiny_llama
from torch import Tensor

from skipstep.adapters.loop import LoopOptions, batch_loss
from skipstep.adapters.loop_checkpoint import Checkpointing
from skipstep.adapters.training import descend
from skipstep.errors import AdapterError

EPSILON, RATE = 1e-2, 1e-3


def model() -> Any:
    """A tiny Llama in double precision, of which two matrices move."""
    made = tiny_llama(dtype=torch.float64).requires_grad_(False)
    made.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    made.lm_head.weight.requires_grad_(True)
    return made


def moving(made: Any) -> list[Tensor]:
    return [parameter for parameter in made.parameters() if parameter.requires_grad]


def run(made: Any, folder: Path, *, steps: int = 1, seed: int = 5, every: int = 100) -> list[float]:
    losses: list[float] = []
    descend(
        made,
        batches(language(1), count=steps, size=2, length=12),
        LoopOptions(steps=steps, learning_rate=RATE, seed=seed, final_share=1.0),
        epsilon=EPSILON,
        checkpoints=Checkpointing(path=folder / "place.safetensors", every=every),
        report=lambda _, loss: losses.append(loss),
    )
    return losses


def noises(made: Any, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for parameter in moving(made):
        yield torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def test_a_step_is_the_papers(tmp_path: Path) -> None:
    (batch,) = batches(language(1), count=1, size=2, length=12)
    expected, made = model(), model()
    starts = [parameter.detach().clone() for parameter in moving(expected)]
    noise = list(noises(expected, seed=5 * 1_000_003))
    losses = []
    with torch.no_grad():
        for distance in (EPSILON, -EPSILON):
            for parameter, start, z in zip(moving(expected), starts, noise, strict=True):
                parameter.copy_(start + distance * z)
            losses.append(float(batch_loss(expected, batch)))
    slope = (losses[0] - losses[1]) / (2 * EPSILON)
    reported = run(made, tmp_path)
    assert reported == [pytest.approx(sum(losses) / 2, abs=1e-9)]
    for parameter, start, z in zip(moving(made), starts, noise, strict=True):
        torch.testing.assert_close(parameter, start - RATE * slope * z, rtol=0, atol=1e-12)
        assert not torch.equal(parameter, start)


def test_only_what_is_trainable_moves_and_no_gradient_is_made(tmp_path: Path) -> None:
    made, before = model(), model()
    run(made, tmp_path, steps=3)
    for (name, parameter), (_, was) in zip(made.named_parameters(), before.named_parameters(), strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, was) is not parameter.requires_grad, name


def test_the_seed_decides(tmp_path: Path) -> None:
    one, same, other = model(), model(), model()
    run(one, tmp_path, steps=2)
    run(same, tmp_path, steps=2)
    run(other, tmp_path, steps=2, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(moving(one), moving(same), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(moving(one), moving(other), strict=True))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(model(), tmp_path, steps=2, every=1)
    with pytest.raises(AdapterError, match="resume it with these options"):
        run(model(), tmp_path, steps=2, seed=6)


def test_a_loss_that_is_not_finite_ends_it(tmp_path: Path) -> None:
    made = model()
    made.lm_head.weight.data.fill_(float("inf"))
    with pytest.raises(AdapterError, match="the loss is nan and nan at step 0; use a learning rate below 0.001"):
        run(made, tmp_path)
