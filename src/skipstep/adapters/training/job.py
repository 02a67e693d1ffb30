"""A training run that is ready to start, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..loop import Batch, LoopOptions, mean_loss
from .examples import Example, endless, in_order
from .options import TrainingOptions
from .run_folder import RunFolder
from .trainee import Trainee

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """One step that was made, counted from 0: its loss before the update."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Item]):
    """What to learn from, and what to measure with, which may be empty."""

    trainee: Trainee
    learned: Sequence[Item]
    held_out: Sequence[Item]
    options: TrainingOptions
    steps: int
    run: RunFolder
    report: Callable[[TrainingStep], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """`save` writes a folder; `measures` are losses and the like on what was held out, by name."""

    save: Callable[[Path], object]
    measures: Mapping[str, float]


def batches(job: Job[Example]) -> Iterator[Batch]:
    """Batches to learn from, without end."""
    options = job.options
    return _moved(endless(job.learned, size=options.batch, pad=job.trainee.pad, seed=options.seed), options.device)


def held_out_loss(job: Job[Example], model: Any) -> float | None:
    """The mean loss on what was held out; None if nothing was."""
    if not job.held_out:
        return None
    return mean_loss(
        model, _moved(in_order(job.held_out, size=job.options.batch, pad=job.trainee.pad), job.options.device)
    )


def known(**measures: float | None) -> dict[str, float]:
    """Measures by name, with spaces; without those that there are not."""
    return {name.replace("_", " "): value for name, value in measures.items() if value is not None}


def loop_options(job: Job[Any], *, final_share: float) -> LoopOptions:
    """The job's steps and rates for a loop of ours."""
    options = job.options
    return LoopOptions(
        steps=job.steps,
        learning_rate=options.rate,
        warm_up_steps=min(options.warm_up_steps, job.steps),
        final_share=final_share,
        seed=options.seed,
    )


def _moved(found: Iterable[Batch], device: str) -> Iterator[Batch]:
    for batch in found:
        yield {name: tensor.to(device) for name, tensor in batch.items()}
