"""When to run the whole UNet and when to reuse its deep features (pure Python, no torch)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..errors import ScheduleError

LATE_CENTER, LATE_WIDTH, LATE_GAP = 0.7, 0.35, 1 / 12  # of the run


class ReuseSchedule(Protocol):
    """Which evaluations of a run recompute the deep features."""

    def is_full(self, evaluation: int) -> bool:
        """Whether the UNet evaluation `evaluation` (counted from 0 within a key) must be a full pass."""
        ...


@runtime_checkable
class MixedSchedule(ReuseSchedule, Protocol):
    """A schedule whose reuse passes may each cut the UNet at another skip connection."""

    def branch_at(self, evaluation: int) -> int:
        """The branch of the reuse pass at `evaluation`."""
        ...


@runtime_checkable
class LearningSchedule(ReuseSchedule, Protocol):
    """A schedule that decides by how well features were forecast."""

    def start(self) -> LearningSchedule:
        """A new one of the same settings, for one key."""
        ...

    def compare(self, evaluation: int, predicted: Any, features: Any) -> None:
        """See what was forecast for the full pass `evaluation`, and what it computed; must not wait for the device."""
        ...


@dataclass(frozen=True, slots=True)
class UniformSchedule:
    """A full pass every `interval` evaluations: the uniform 1:N strategy of DeepCache (arXiv:2312.00858).

    Raises:
        ScheduleError: if `interval` is below 1.
    """

    interval: int

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise ScheduleError(f"interval must be 1 or more, got {self.interval}; 1 runs every pass in full")

    def is_full(self, evaluation: int) -> bool:
        """True for every `interval`-th evaluation, the first included."""
        return evaluation % self.interval == 0


@dataclass(frozen=True, slots=True)
class ExplicitSchedule:
    """Full passes at the listed evaluations; evaluation 0 is always one.

    Raises:
        ScheduleError: if the list is empty or holds a negative number.
    """

    full_evaluations: frozenset[int] = field(default_factory=frozenset)

    def __init__(self, full_evaluations: Iterable[int]) -> None:
        evaluations = frozenset(full_evaluations)
        if not evaluations or min(evaluations) < 0:
            raise ScheduleError(
                f"full evaluations must be a non-empty list of indices from 0, got {sorted(evaluations)}; "
                "give for example (0, 3, 6, 9)"
            )
        object.__setattr__(self, "full_evaluations", evaluations)

    def is_full(self, evaluation: int) -> bool:
        """True for evaluation 0 and for those listed."""
        return evaluation == 0 or evaluation in self.full_evaluations


@dataclass(frozen=True, slots=True)
class PlannedSchedule:
    """What each evaluation is: None for a full pass, else the branch of its reuse pass. Beyond the end all are full.

    Raises:
        ScheduleError: if the first is not full, or a branch is negative.
    """

    passes: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if not self.passes or self.passes[0] is not None:
            raise ScheduleError(f"a plan must begin with a full pass (None), got {self.passes[:1]}")
        if any(branch is not None and branch < 0 for branch in self.passes):
            raise ScheduleError(f"branches of a plan must be 0 or more, got {self.passes}")

    @property
    def branches(self) -> tuple[int, ...]:
        """The branches in use, shallowest first; (0,) if every pass is full."""
        return tuple(sorted({branch for branch in self.passes if branch is not None})) or (0,)

    def is_full(self, evaluation: int) -> bool:
        """True where the plan says so, and after its end."""
        return evaluation >= len(self.passes) or self.passes[evaluation] is None

    def branch_at(self, evaluation: int) -> int:
        """The branch of the reuse pass at `evaluation`."""
        branch = self.passes[evaluation]
        assert branch is not None
        return branch


@dataclass(frozen=True, slots=True)
class WindowedSchedule:
    """Follows `inner` for steps in [start_step, end_step) and runs full passes outside.

    `evaluations_per_step` is the order of the sampler: 2 for Heun and DPM-2. The inner schedule counts from the
    window's first evaluation.

    Raises:
        ScheduleError: if the window is empty or the order is below 1.
    """

    inner: ReuseSchedule
    start_step: int
    end_step: int
    evaluations_per_step: int = 1

    def __post_init__(self) -> None:
        if self.evaluations_per_step < 1:
            raise ScheduleError(f"evaluations per step must be 1 or more, got {self.evaluations_per_step}")
        if not 0 <= self.start_step < self.end_step:
            raise ScheduleError(
                f"the window must have 0 <= start < end, got start {self.start_step} and end {self.end_step}"
            )

    def is_full(self, evaluation: int) -> bool:
        """True outside the window, and inside it where `inner` says so."""
        first = self.start_step * self.evaluations_per_step
        if not first <= evaluation < self.end_step * self.evaluations_per_step:
            return True
        return self.inner.is_full(evaluation - first)


def spread_schedule(evaluations: int, full_passes: int) -> ExplicitSchedule:
    """Full passes spread from the first evaluation to the last, both included; what is left over widens the last gaps.

    Features change fastest at the beginning.
    The last evaluation makes the picture's detail and has no later one to mend it: on the demo model a uniform
    schedule that ends in reuse passes loses 5 dB there (docs/forecast.md).

    Raises:
        ScheduleError: if there are not 1 to `evaluations` full passes.
    """
    check_full_passes(evaluations, full_passes)
    if full_passes == 1:
        return ExplicitSchedule((0,))
    gap, left = divmod(evaluations - 1, full_passes - 1)
    narrow = full_passes - 1 - left
    return ExplicitSchedule(index * gap + max(index - narrow, 0) for index in range(full_passes))


def late_schedule(evaluations: int, full_passes: int) -> ExplicitSchedule:
    """A full pass at the first evaluation, and the others around 70 % of the run.

    For samplers that begin far above the noise at which anything of the picture is decided: of an output's error in
    the first half of a run of Stable Video Diffusion (25 steps from sigma 700) at most 3 % reaches the clip, and of
    one in the last tenth 2 % (docs/video.md). Passes are a twelfth of the run apart, and nearer where all of them
    would take more than 35 % of it; more than fit in there reach out to the end, and then to the beginning.

    Raises:
        ScheduleError: if there are not 1 to `evaluations` full passes.
    """
    check_full_passes(evaluations, full_passes)
    if full_passes == 1:
        return ExplicitSchedule((0,))
    length, count = evaluations - 1, full_passes - 1
    width = max(min(LATE_WIDTH, LATE_GAP * (count - 1)) * length, count - 1)
    first = round(min(LATE_CENTER * length - width / 2, length - width))
    first = max(first, 1)
    last = min(max(round(LATE_CENTER * length + width / 2), first + count - 1), length)
    gap = (last - first) / max(count - 1, 1)
    return ExplicitSchedule((0, *(round(first + index * gap) for index in range(count))))


def check_full_passes(evaluations: int, full_passes: int) -> None:
    """Refuse more full passes than evaluations, or none.

    Raises:
        ScheduleError: naming both.
    """
    if not 1 <= full_passes <= evaluations:
        raise ScheduleError(f"full passes must be 1..{evaluations} for {evaluations} evaluations, got {full_passes}")


def quadratic_schedule(evaluations: int, full_passes: int, *, center: int, power: float) -> ExplicitSchedule:
    """Full passes that are denser around `center`, the non-uniform 1:N strategy of DeepCache.

    Ma et al. 2023, arXiv:2312.00858, section 3.3: points spread evenly over the signed `power`-th root of the
    distance from `center`, raised back to `power`. The first is moved to evaluation 0. `center` is an evaluation
    index; `power` has no unit, and is lowered in steps of 0.02 until the points are distinct.

    Raises:
        ScheduleError: if a number is out of range, or no power above 1 gives `full_passes` distinct evaluations.
    """
    check_full_passes(evaluations, full_passes)
    if not 0 <= center < evaluations:
        raise ScheduleError(f"center must be an evaluation index 0..{evaluations - 1}, got {center}")
    if power <= 1:
        raise ScheduleError(f"power must be above 1, got {power}; 1.4 is usual")
    while power > 1:
        chosen = _spread(evaluations, full_passes, center=center, power=power)
        if len(chosen) == full_passes:
            return ExplicitSchedule(chosen)
        power -= 0.02
    raise ScheduleError(
        f"no power above 1 gives {full_passes} distinct evaluations of {evaluations} around {center}; "
        "ask for fewer full passes, or use the uniform schedule"
    )


def _spread(evaluations: int, full_passes: int, *, center: int, power: float) -> frozenset[int]:
    first = -(center ** (1 / power))
    last = (evaluations - center) ** (1 / power)
    roots = (first + (last - first) * i / full_passes for i in range(full_passes))
    # truncated towards the center, as the reference code does
    points = [center + int(abs(root) ** power) * (1 if root >= 0 else -1) for root in roots]
    return frozenset([0, *points[1:]])
