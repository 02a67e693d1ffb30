"""What a plan is to reach, and what to say where caching cannot reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..errors import OptionError, PlanError
from .planner import Planner, Trial

Figures = Callable[[Trial], dict[str, Any]]  # a trial on held-out prompts


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The plan's trial, its held-out figures, and what a person should know."""

    trial: Trial
    figures: dict[str, Any]
    advice: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Words:
    """How a host is told to do something else; templates for `str.format`."""

    uncached: str = "run it uncached"
    fewer: str = "take {steps} steps without a cache"
    speed: str = "speed {speed:.2f}"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A held-out figure and the value to reach."""

    figure: str
    value: float
    text: str

    def is_met(self, figures: dict[str, Any]) -> bool:
        """Whether held-out figures reach it: LPIPS from above, PSNR from below."""
        value = float(figures[self.figure])
        return value <= self.value if self.figure == "lpips" else value >= self.value


def psnr_goal(psnr: float) -> Goal:
    """A median latent PSNR in dB.

    Raises:
        OptionError: if it is out of range.
    """
    if not 10 <= psnr <= 100:
        raise OptionError(f"psnr must be 10..100 dB, got {psnr}; 40 is usual")
    return Goal(figure="latent_psnr_db", value=psnr, text=f"{psnr:g} dB")


def check_speed(speed: float) -> None:
    """Refuse a speed-up that is out of range.

    Raises:
        OptionError: saying what is usual.
    """
    if not 1 < speed <= 100:
        raise OptionError(f"speed must be above 1 and at most 100, got {speed}; 3 is usual")


def reach_speed(planner: Planner, speed: float, figures: Figures, words: Words) -> Outcome:
    """The best schedule that is as fast.

    Raises:
        PlanError: if no schedule can reach it; the message says what can.
    """
    trial = _at_speed(planner, speed)
    held_out = figures(trial)
    return Outcome(trial=trial, figures=held_out, advice=_advice(held_out, words))


def with_way_out(planner: Planner, outcome: Outcome, figures: Figures, words: Words) -> Outcome:
    """Where fewer steps beat an outcome: the same, and the fastest schedule that they do not beat, by more searches."""
    if not outcome.advice:
        return outcome
    for more in range(int(outcome.figures["full_passes"]) + 1, planner.evaluations):
        trial = planner.best(more)
        other = figures(trial)
        if other["latent_psnr_db"] > other["fewer_steps_db"]:
            line = (
                f"caching pays from {more} full passes on: {trial.speedup:.2f}x at "
                f"{other['latent_psnr_db']:.1f} dB, where {other['fewer_steps']} uncached steps give "
                f"{other['fewer_steps_db']:.1f} dB ({words.speed.format(speed=trial.speedup)})"
            )
            return replace(outcome, advice=(*outcome.advice, line))
    return outcome


def reach_quality(planner: Planner, goal: Goal, figures: Figures, words: Words) -> Outcome:
    """The fastest schedule that meets a goal: bisection over the number of full passes, each judged by real runs.

    Raises:
        PlanError: if none that reuses anything does; the message says what is reached.
    """
    known: dict[int, tuple[Trial, dict[str, Any]]] = {}

    def judged(full_passes: int) -> tuple[Trial, dict[str, Any]]:
        if full_passes not in known:
            trial = planner.best(full_passes)
            known[full_passes] = trial, figures(trial)
        return known[full_passes]

    low, high = 1, planner.evaluations - 1
    while low < high:
        middle = (low + high) // 2
        if goal.is_met(judged(middle)[1]):
            high = middle
        else:
            low = middle + 1
    trial, held_out = judged(low)
    if goal.is_met(held_out):
        return Outcome(trial=trial, figures=held_out, advice=_advice(held_out, words))
    remedy = words.uncached[:1].upper() + words.uncached[1:]
    raise PlanError(
        f"{goal.text} cannot be reached in {planner.evaluations} evaluations: the best that reuses anything gives "
        f"{held_out[goal.figure]:g}. {remedy}, or take more steps, whose neighbours differ less"
    )


def _at_speed(planner: Planner, speed: float) -> Trial:
    full_passes = planner.most_full_passes(speed)
    if full_passes < 1:
        reuse, count = min(planner.measured.work.values()), planner.evaluations
        raise PlanError(
            f"{speed:g}x cannot be reached: with one full pass in {count}, reuse passes of {100 * reuse:.1f} % leave "
            f"{count / (1 + (count - 1) * reuse):.2f}x; ask for less"
        )
    return planner.best(full_passes)


def _advice(figures: dict[str, Any], words: Words) -> tuple[str, ...]:
    if figures["latent_psnr_db"] > figures["fewer_steps_db"]:
        return ()
    return (
        f"{figures['fewer_steps']} uncached steps cost as much and are nearer to the full run "
        f"({figures['fewer_steps_db']:.1f} against {figures['latent_psnr_db']:.1f} dB): "
        f"{words.fewer.format(steps=figures['fewer_steps'])} instead of this plan",
    )
