"""The progress bar of a node that samples many times, and its end when the user cancels."""

from __future__ import annotations

import math

import comfy.model_management
import comfy.utils

from skipstep.plan.planner import REFINED_ON, TRIED
from skipstep.plan.targets import Goal

from .measuring import MEASURED_ON
from .subjects import Subjects
from .target import Target

_LIKE_TRIALS = 2 + 3  # evenly spread ones, and fitted slopes of the best
_RIDGES = 3
_FIGURES = 6  # runs of each held-out subject, the uncached one among them
_YARDSTICKS = 6


class StepProgress:
    """Counts steps; how many there will be is only guessed, because a search goes by what it finds."""

    def __init__(self, expected: int) -> None:
        self._bar = comfy.utils.ProgressBar(expected)
        self._expected = expected
        self._done = 0

    def step(self) -> None:
        """One step was sampled.

        Raises:
            InterruptProcessingException: if the user has cancelled.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._done += 1
        self._bar.update_absolute(self._done, max(self._expected, self._done + 1))

    def finish(self) -> None:
        """All is done."""
        self._bar.update_absolute(self._expected, self._expected)


def expected_steps(subjects: Subjects, target: Target, *, evaluations: int, plots: bool) -> int:
    """About how many steps a planning samples."""
    search, held_out = len(subjects.search), len(subjects.held_out)
    searches, share = 1, 0.0
    if isinstance(target, Goal):
        searches, share = math.ceil(math.log2(max(2, evaluations - 1))) + 1, 0.5
    else:
        share = 1 / target.value
    slopes = round(evaluations * (1 - share))
    one = (TRIED + _LIKE_TRIALS + _RIDGES) * search + (slopes + 1) * min(REFINED_ON, search)
    once = search + 1 + min(MEASURED_ON, search) + (_YARDSTICKS * search if plots else 0)
    return evaluations * (once + searches * (one + _FIGURES * held_out))
