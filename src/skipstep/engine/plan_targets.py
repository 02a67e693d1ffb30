"""What a plan of the command line is to reach."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import OptionError
from ..plan import Planner
from ..plan.targets import (
    Figures,
    Goal,
    Outcome,
    Words,
    check_speed,
    psnr_goal,
    reach_quality,
    reach_speed,
    with_way_out,
)
from .lpips import load_lpips

WORDS = Words(
    uncached="run it uncached (--cache lossless)",
    fewer="use --steps {steps} --cache lossless",
    speed="--speed {speed:.2f}",
)


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
        if self.speed is not None:
            check_speed(self.speed)
        if self.psnr is not None:
            psnr_goal(self.psnr)


def reach_target(planner: Planner, target: Target, figures: Figures) -> Outcome:
    """Search until the target is reached.

    Raises:
        PlanError: if no schedule can reach it; the message says what can.
    """
    if target.speed is not None:
        outcome = reach_speed(planner, target.speed, figures, WORDS)
        return with_way_out(planner, outcome, figures, WORDS)
    if target.psnr is not None:
        return reach_quality(planner, psnr_goal(target.psnr), figures, WORDS)
    assert target.lpips is not None
    goal = Goal(figure="lpips", value=target.lpips, text=f"LPIPS {target.lpips:g}")
    return reach_quality(planner, goal, figures, WORDS)
