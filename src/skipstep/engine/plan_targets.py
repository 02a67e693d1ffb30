"""What a plan is to reach, and what to say where caching cannot reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import OptionError, PlanError
from ..plan import Planner, Trial
from .lpips import load_lpips

Figures = Callable[[Trial], dict[str, Any]]  # a trial on held-out prompts


@dataclass(frozen=True, kw_only=True)
class Target:
    """A speed-up by FLOPs, the least median latent PSNR in dB, or the greatest median LPIPS.

    Raises:
        OptionError: if not exactly one is given, or it is out of range.
        MissingExtraError: if LPIPS is asked for and its weights are not here.
    """

    speed: float | None = None
    psnr: float | None = None
    lpips: float | None = None

    def __post_init__(self) -> None:
        if sum(goal is not None for goal in (self.speed, self.psnr, self.lpips)) != 1:
            raise OptionError("give one of --speed, --psnr and --lpips: what the plan is to reach")
        if self.lpips is not None:
            if not 0 < self.lpips < 1:
                raise OptionError(f"lpips must be above 0 and below 1, got {self.lpips}; 0.05 is usual")
            load_lpips()
        if self.speed is not None and not 1 < self.speed <= 100:
            raise OptionError(f"speed must be above 1 and at most 100, got {self.speed}; 3 is usual")
        if self.psnr is not None and not 10 <= self.psnr <= 100:
            raise OptionError(f"psnr must be 10..100 dB, got {self.psnr}; 40 is usual")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The plan's trial, its held-out figures, and what a person should know."""

    trial: Trial
    figures: dict[str, Any]
    advice: tuple[str, ...]


def reach_target(planner: Planner, target: Target, figures: Figures) -> Outcome:
    """Search until the target is reached.

    Raises:
        PlanError: if no schedule can reach it; the message says what can.
    """
    if target.speed is not None:
        return _with_advice(planner, _at_speed(planner, target.speed), figures)
    if target.lpips is not None:
        return _at_quality(planner, _Goal("lpips", target.lpips, f"LPIPS {target.lpips:g}"), figures)
    assert target.psnr is not None
    return _at_quality(planner, _Goal("latent_psnr_db", target.psnr, f"{target.psnr:g} dB"), figures)


@dataclass(frozen=True)
class _Goal:
    """A held-out figure and the value to reach."""

    figure: str
    value: float
    text: str

    def is_met(self, figures: dict[str, Any]) -> bool:
        """Whether held-out figures reach it: LPIPS from above, PSNR from below."""
        value = float(figures[self.figure])
        return value <= self.value if self.figure == "lpips" else value >= self.value


def _at_speed(planner: Planner, speed: float) -> Trial:
    full_passes = planner.most_full_passes(speed)
    if full_passes < 1:
        reuse, count = min(planner.measured.work.values()), planner.evaluations
        raise PlanError(
            f"{speed:g}x cannot be reached: with one full pass in {count}, reuse passes of {100 * reuse:.1f} % leave "
            f"{count / (1 + (count - 1) * reuse):.2f}x; ask for less"
        )
    return planner.best(full_passes)


def _at_quality(planner: Planner, goal: _Goal, figures: Figures) -> Outcome:
    """Bisection over the number of full passes, each judged by real runs on held-out prompts."""
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
        return Outcome(trial=trial, figures=held_out, advice=_advice(held_out))
    raise PlanError(
        f"{goal.text} cannot be reached in {planner.evaluations} evaluations: the best that reuses anything gives "
        f"{held_out[goal.figure]:g}. Run it uncached (--cache lossless), or take more steps, whose neighbours differ "
        "less"
    )


def _with_advice(planner: Planner, trial: Trial, figures: Figures) -> Outcome:
    """The outcome; where fewer steps do better, the fastest schedule that they do not beat is named too."""
    held_out = figures(trial)
    advice = list(_advice(held_out))
    full_passes = int(held_out["full_passes"])
    if advice:
        for more in range(full_passes + 1, planner.evaluations):
            other = figures(planner.best(more))
            if other["latent_psnr_db"] > other["fewer_steps_db"]:
                advice.append(
                    f"caching pays from {more} full passes on: {other['flop_speedup']:.2f}x at "
                    f"{other['latent_psnr_db']:.1f} dB, where {other['fewer_steps']} uncached steps give "
                    f"{other['fewer_steps_db']:.1f} dB (--speed {other['flop_speedup']:.2f})"
                )
                break
    return Outcome(trial=trial, figures=held_out, advice=tuple(advice))


def _advice(figures: dict[str, Any]) -> tuple[str, ...]:
    if figures["latent_psnr_db"] > figures["fewer_steps_db"]:
        return ()
    return (
        f"{figures['fewer_steps']} uncached steps cost as much and are nearer to the full run "
        f"({figures['fewer_steps_db']:.1f} against {figures['latent_psnr_db']:.1f} dB): "
        f"use --steps {figures['fewer_steps']} --cache lossless instead of this plan",
    )
