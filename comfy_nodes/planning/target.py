"""What a plan is to reach."""

from __future__ import annotations

from dataclasses import dataclass

from skipstep.plan import Planner
from skipstep.plan.targets import Figures, Goal, Outcome, Words, check_speed, psnr_goal, reach_quality, reach_speed

SPEED, PSNR = "speed", "psnr"
TARGETS = (SPEED, PSNR)
WORDS = Words(
    uncached="sample without a cache",
    fewer="take {steps} steps without a cache",
    speed="target speed, {speed:.2f}",
)


@dataclass(frozen=True, slots=True)
class Speed:
    """A speed-up of the UNet.

    Raises:
        OptionError: if it is out of range.
    """

    value: float

    def __post_init__(self) -> None:
        check_speed(self.value)


Target = Speed | Goal


def target_of(kind: str, *, speed: float, psnr: float) -> Target:
    """What the widgets ask for.

    Raises:
        OptionError: if it is out of range.
    """
    return Speed(speed) if kind == SPEED else psnr_goal(psnr)


def reach(planner: Planner, target: Target, figures: Figures) -> Outcome:
    """Search until the target is reached; only with a bare advice where fewer steps do better.

    Raises:
        PlanError: if no schedule can reach it; the message says what can.
    """
    if isinstance(target, Speed):
        return reach_speed(planner, target.value, figures, WORDS)
    return reach_quality(planner, target, figures, WORDS)
