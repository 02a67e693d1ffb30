"""Toys to plan on: random prices, and a model whose cached runs are sums that can be written down."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from skipstep import DeepCache
from skipstep.deepcache import FeatureHistory, Position
from skipstep.deepcache.responses import Responses

INFINITE = float("inf")


@dataclass(frozen=True)
class PriceTable:
    """Random prices with the interface of `GapCosts`; `infinite` is the share that was never measured."""

    evaluations: int
    seed: int = 0
    branches: tuple[int, ...] = (0,)
    infinite: float = 0.0

    def price(self, branch: int, previous: int | None, last: int, until: int) -> float:
        """0 for a gap without a reuse pass; the same arguments give the same price."""
        chance = random.Random(f"{self.seed} {branch} {previous} {last} {until}")
        if until == last + 1:
            return 0.0
        return (
            INFINITE if chance.random() < self.infinite else (0.3 + chance.random()) * (until - last - 1) / (1 + branch)
        )


def responses_of(errors: Callable[[int, int], Tensor], evaluations: int, window: int, branch: int = 0) -> Responses:
    """What a run would have measured: `errors(at, source)` is the output error with features of `source`."""
    inner = []
    for at in range(evaluations):
        tried = [errors(at, at - 1 - back).flatten().double() for back in range(min(at, window))]
        inner.append([[float(one @ other / one.numel()) for other in tried] for one in tried])
    responses = Responses(branch=branch, log_sigmas=tuple(-float(i) for i in range(evaluations)))
    responses.add(inner)
    return responses


class ToyModel:
    """Features move along a smooth random curve, fast at first; the output is the features, each branch's its own.

    The final latent is the sum of the outputs times the sampler's gains, so a cached run errs by a sum over its reuse
    passes. Deeper branches move less.
    """

    def __init__(self, evaluations: int, seed: int = 0, prompts: int = 3, width: int = 40) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.evaluations = evaluations
        self.gains = tuple(1.5 / (1 + index) + 0.2 for index in range(evaluations))
        self._speeds = torch.randn(prompts, width, generator=generator) * 2.5
        self._phases = torch.rand(prompts, width, generator=generator) * 6.3
        self.ran: list[tuple[DeepCache, int]] = []

    @cache  # noqa: B019
    def features(self, at: int, branch: int) -> Tensor:
        """The deep features (prompts, width)."""
        return (self._speeds * (at / self.evaluations) ** 0.6 + self._phases).sin() / (1 + 2 * branch)

    def measured(self, branch: int, window: int) -> Responses:
        """What verbatim reuse would give."""
        return responses_of(
            lambda at, source: self.features(source, branch) - self.features(at, branch),
            self.evaluations,
            window,
            branch,
        )

    def latents(self, options: DeepCache, *, prompts: int | None = None) -> Tensor:
        """Final latents (prompts, width) of a run with these options."""
        forecast, schedule = options.new_forecast(), options.schedule(evaluations=self.evaluations)
        histories = {branch: FeatureHistory(forecast.history_size) for branch in options.branches}
        latent = torch.zeros_like(self._speeds)
        for at, gain in enumerate(self.gains):
            if schedule.is_full(at):
                for branch, history in histories.items():
                    history.add(Position(at, branch=branch), self.features(at, branch))
                latent = latent + gain * self.features(at, 0)
            else:
                branch = getattr(schedule, "branch_at", lambda _: options.branch)(at)
                foretold = forecast.predict(histories[branch], Position(at, branch=branch))
                latent = latent + gain * (self.features(at, 0) + foretold - self.features(at, branch))
        self.ran.append((options, len(latent[:prompts])))
        return latent[:prompts]


class ForetoldBench:
    """Errs just as `GapCosts` foretells: within a gap all one way, and another way in each gap."""

    def __init__(self, responses: Responses, gains: tuple[float, ...]) -> None:
        self.evaluations, self.gains, self._responses = len(gains), gains, responses

    def latents(self, options: DeepCache, *, prompts: int | None = None) -> Tensor:
        """Final latents (1, evaluations) with the error of the gap after each full pass."""
        forecast, schedule = options.new_forecast(), options.schedule(evaluations=self.evaluations)
        latents, full = torch.zeros(1, self.evaluations), [0]
        for at in range(1, self.evaluations):
            if schedule.is_full(at):
                full.append(at)
                continue
            previous = full[-2] if len(full) > 1 else None
            reach = 0.0
            if previous is not None:
                stored = FeatureHistory(2)
                stored.add(Position(previous), torch.zeros(1))
                stored.add(Position(full[-1]), torch.ones(1))
                reach = float(forecast.predict(stored, Position(at))) - 1
            latents[0, full[-1]] += self.gains[at] * self._responses.error(at, previous, full[-1], reach) ** 0.5
        return latents


def closeness(reference: Tensor, latents: Tensor) -> float:
    """A score in dB; high for an exact run."""
    return float(-10 * torch.log10((reference - latents).double().square().mean() + 1e-12))


def single_branch(full: Iterable[int], evaluations: int, branch: int = 0) -> tuple[int | None, ...]:
    """The passes of a schedule with one branch."""
    listed = set(full)
    return tuple(None if index in listed else branch for index in range(evaluations))
