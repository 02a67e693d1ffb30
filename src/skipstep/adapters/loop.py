"""Steps of a training run: rates, seeds and clipped gradients that do not depend on when the run was started."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AdapterError, OptionError

Batch = Mapping[str, Tensor]  # "input_ids" (batch, tokens), and "labels" and "attention_mask" where they differ
UNLABELLED = -100  # of transformers' losses


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How long and how fast to train; the rate rises in a straight line, then falls to `final_share` of itself."""

    steps: int
    learning_rate: float
    warm_up_steps: int = 0
    final_share: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise OptionError(f"steps must be 1 or more, got {self.steps}")
        if not 0 <= self.warm_up_steps <= self.steps:
            raise OptionError(f"warm_up_steps must be 0..{self.steps}, the number of steps, got {self.warm_up_steps}")
        if not 0 <= self.final_share <= 1:
            raise OptionError(f"final_share must be 0..1, got {self.final_share}")
        for name, value in (("learning_rate", self.learning_rate), ("clip_norm", self.clip_norm)):
            if not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} must be above 0, got {value}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warm_up_steps:
            return self.learning_rate * (step + 1) / self.warm_up_steps
        done = (step - self.warm_up_steps) / max(self.steps - self.warm_up_steps, 1)
        return self.learning_rate * (1 - (1 - self.final_share) * done)


def each_step(batches: Iterable[Batch], *, first: int = 0, steps: int) -> Iterator[tuple[int, Batch]]:
    """The batch of each step from `first` on; those before it are passed over.

    Raises:
        AdapterError: if the batches end early.
    """
    done = first
    for done, batch in enumerate(islice(batches, first, steps), start=first + 1):
        yield done - 1, batch
    if done < steps:
        raise AdapterError(f"the batches ended after {done} of {steps} steps; give one for each")


def accumulate_gradients(
    model: Any, batch: Batch, parameters: Sequence[nn.Parameter], *, options: LoopOptions, step: int
) -> float:
    """Add a batch's gradients, clipped together to `options.clip_norm`; gives the loss.

    Dropout draws from a generator seeded by the step, and the caller's generators are left as they were.

    Raises:
        AdapterError: if the loss is not finite.
    """
    device = parameters[0].device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed * 1_000_003 + step)
        loss = batch_loss(model, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise AdapterError(
                f"the loss is {value} at step {step}; use a learning rate below {options.learning_rate:g}"
            )
        loss.backward()
    nn.utils.clip_grad_norm_(parameters, options.clip_norm)
    return value


def batch_loss(model: Any, batch: Batch) -> Tensor:
    """A causal LM's mean loss over the labels of a batch; without labels, over all tokens that are not masked."""
    inputs = dict(batch)
    if "labels" not in inputs:
        mask = inputs.get("attention_mask")
        ids = inputs["input_ids"]
        inputs["labels"] = ids if mask is None else ids.masked_fill(mask == 0, UNLABELLED)
    loss = model(**inputs, use_cache=False).loss
    assert isinstance(loss, Tensor)
    return loss


def mean_loss(model: Any, batches: Iterable[Batch]) -> float:
    """The mean of the batches' losses in evaluation mode; the model's mode is left as it was.

    Raises:
        OptionError: without a batch.
    """
    with torch.no_grad(), mode(model, training=False):
        losses = [float(batch_loss(model, batch)) for batch in batches]
    if not losses:
        raise OptionError("a mean loss needs at least one batch, got none")
    return math.fsum(losses) / len(losses)


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """The block runs with the whole model in this mode; each module then has its own back."""
    found = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in found:
            module.training = was
