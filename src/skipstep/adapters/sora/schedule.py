"""When the gates are pressed towards zero, and how hard."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import OptionError


@dataclass(frozen=True, kw_only=True)
class SparsitySchedule:
    """No penalty for `dense_steps`, then each of `penalties` (the paper's lambda) for `stage_steps`; the last stays.

    A gate loses penalty x learning rate at every step.
    """

    penalties: tuple[float, ...]
    dense_steps: int = 0
    stage_steps: int = 1

    def __post_init__(self) -> None:
        if not self.penalties or any(not (math.isfinite(penalty) and penalty >= 0) for penalty in self.penalties):
            raise OptionError(f"penalties must be one or more numbers from 0, got {self.penalties}")
        if self.dense_steps < 0 or self.stage_steps < 1:
            got = f"got {self.dense_steps} and {self.stage_steps}"
            raise OptionError(f"dense_steps must be 0 or more and stage_steps 1 or more, {got}")

    def penalty(self, step: int) -> float:
        """The penalty at a step, counted from 0."""
        if step < self.dense_steps:
            return 0.0
        stage = (step - self.dense_steps) // self.stage_steps
        return self.penalties[min(stage, len(self.penalties) - 1)]


def rising_schedule(penalty: float, *, steps: int, stages: int = 4, dense_share: float = 0.25) -> SparsitySchedule:
    """A dense phase of a share of the steps, then `stages` equal steps up to `penalty` over the others.

    Raises:
        OptionError: if there are fewer steps than stages, or the share is not in 0..1.
    """
    if not 0 <= dense_share < 1:
        raise OptionError(f"dense_share must be from 0 to below 1, got {dense_share}")
    dense = round(steps * dense_share)
    if stages < 1 or steps - dense < stages:
        raise OptionError(f"{stages} stages need as many steps after the dense phase, got {steps - dense}")
    return SparsitySchedule(
        penalties=tuple(penalty * (stage + 1) / stages for stage in range(stages)),
        dense_steps=dense,
        stage_steps=(steps - dense) // stages,
    )
