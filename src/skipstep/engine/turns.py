"""Two ways of making the same thing, timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Generic, Protocol, TypeVar

from ..deepcache import DeepCache, RunReport
from ..deepcache.options import CALIBRATED
from ..plan.presets import LOSSLESS

OnPass = Callable[[int, int, str], None]  # evaluation, evaluations in all, "F" or "r"
OnRun = Callable[[str, int], "OnPass | None"]  # "baseline" or "cached" and the round; returns who is told of passes
R = TypeVar("R", bound=Any)


class Made(Protocol):
    """What an engine made."""

    @property
    def report(self) -> RunReport:
        """Its sampling run."""
        ...

    @property
    def seconds(self) -> float:
        """The whole call."""
        ...


T = TypeVar("T", bound=Made)
T_co = TypeVar("T_co", bound=Made, covariant=True)


def nobody(name: str, turn: int) -> None:
    """Nobody is told of passes."""


@dataclass(frozen=True, kw_only=True)
class Turns(Generic[T]):
    """What came of both sides, and how long they took. Ratios are baseline over cached, one a round."""

    baseline: T
    cached: T
    loop_ratios: tuple[float, ...]  # the sampling loop
    total_ratios: tuple[float, ...]  # encoders and VAE included

    @property
    def speedup(self) -> float:
        """Of the sampling loop, the median over the rounds."""
        return median(self.loop_ratios)

    @property
    def total_speedup(self) -> float:
        """Of the whole call, the median over the rounds."""
        return median(self.total_ratios)

    def as_dict(self) -> dict[str, Any]:
        """The ratios, plain enough for JSON."""
        return {
            "speedup": self.speedup,
            "speedup_rounds": self.loop_ratios,
            "total_speedup": self.total_speedup,
            "total_speedup_rounds": self.total_ratios,
        }


class Engine(Protocol[R, T_co]):
    """Makes something of a request that names its cache."""

    def complete(self, request: R) -> R:
        """The request with the model's own values filled in."""
        ...

    def generate(self, request: R, on_pass: OnPass | None = None) -> T_co:
        """Make it."""
        ...


def with_and_without(engine: Engine[R, T], request: R, *, rounds: int, on_run: OnRun) -> Turns[T]:
    """What a request gives without its cache and with it, in turns.

    Two steps run first, unmeasured, so that no side pays for warming up.
    """
    request = engine.complete(request)
    uncached = replace(request, cache=LOSSLESS)
    engine.generate(replace(uncached, steps=2))
    if isinstance(request.cache, DeepCache) and request.cache.forecast == CALIBRATED:
        engine.generate(request)  # if nothing is known of such runs yet, this one calibrates
    return take_turns(
        {
            "baseline": lambda turn: engine.generate(uncached, on_run("baseline", turn)),
            "cached": lambda turn: engine.generate(request, on_run("cached", turn)),
        },
        rounds,
    )


def take_turns(sides: Mapping[str, Callable[[int], T]], rounds: int) -> Turns[T]:
    """Call "baseline" and "cached" with the round's number, `rounds` times with the order swapped every time."""
    made: dict[str, T] = {}
    loops: list[float] = []
    totals: list[float] = []
    for turn in range(rounds):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            made[name] = sides[name](turn)
        loops.append(made["baseline"].report.loop_s / made["cached"].report.loop_s)
        totals.append(made["baseline"].seconds / made["cached"].seconds)
    return Turns(baseline=made["baseline"], cached=made["cached"], loop_ratios=tuple(loops), total_ratios=tuple(totals))
