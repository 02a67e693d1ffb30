"""How a pipeline is to be sped up: one frozen, self-validating set of options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import OptionError, ScheduleError
from .adaptive import AdaptiveSchedule
from .calibrated import CalibratedForecast, Slopes
from .forecast import Forecast, LinearForecast, QuadraticForecast, VerbatimForecast
from .history import LOG_SIGMA
from .schedule import (
    ExplicitSchedule,
    PlannedSchedule,
    ReuseSchedule,
    UniformSchedule,
    WindowedSchedule,
    late_schedule,
    quadratic_schedule,
    spread_schedule,
)
from .storage import FeatureStore

MAX_POWER = 10.0
FORECASTS: dict[str, Callable[[], Forecast]] = {
    "verbatim": VerbatimForecast,
    "linear": LinearForecast,
    "linear_log_sigma": lambda: LinearForecast(LOG_SIGMA),
    "quadratic": QuadraticForecast,
    "quadratic_log_sigma": lambda: QuadraticForecast(LOG_SIGMA),
}
CALIBRATED = "calibrated"
SPACINGS = ("uniform", "spread", "late")


@dataclass(frozen=True, kw_only=True)
class DeepCache:
    """Options of feature reuse.

    `interval`: evaluations from one full pass to the next; 1 runs every pass in full.
    `branch`: index of the skip connection at which the UNet is cut; 0 is fastest.
    `forecast`: "verbatim", "linear", "linear_log_sigma", "quadratic", "quadratic_log_sigma", "calibrated" (the first
    run is uncached and measures the slopes of those after it) or an object with `history_size` and `predict`.
    `spacing`: "uniform"; "spread": as many full passes as `interval` gives, evenly from the first evaluation to the
    last, which is then a full pass; "late": as many, the first evaluation and the others around 70 % of the run, for
    samplers that begin at very high noise (Stable Video Diffusion).
    `center`, `power`: with a center (an evaluation index), as many full passes as `interval` gives are spread
    non-uniformly, denser around it (arXiv:2312.00858, section 3.3).
    `full_evaluations`: the exact evaluations to run in full, instead of all of the above about when; they count from
    the start of the run.
    `passes`: what each evaluation is, instead of all of the above about when and where: None for a full pass, else
    the branch of its reuse pass; several branches may be mixed, and a run must have as many evaluations.
    `tolerance`: without a plan, full passes as often as keeps the forecast's own error near this share of the
    features (docs/forecast.md), instead of `interval`.
    `start_step`, `end_step`: steps [start, end) in which features may be reused; outside, every pass is full, and so
    is the first inside.
    `start_percent`, `end_percent`: the same window as fractions (0 to 1) of the run's steps.
    `feature_dtype`: the type in which features are kept between evaluations: "same" as the UNet's own, "float16" or
    "bfloat16".
    `feature_device`: where they are kept: the "same" device as the UNet's, or "cpu", host memory.
    `prefetch`: whether features in host memory are copied beside the computation and ahead of use; without it copies
    are made in turn, and the device holds fewer.

    Raises:
        OptionError: if a value is out of range or two options contradict each other.
        ScheduleError: if the interval is below 1.
    """

    interval: int = 3
    branch: int = 0
    forecast: str | Forecast = "linear"
    center: int | None = None
    power: float = 1.4
    full_evaluations: tuple[int, ...] | None = None
    spacing: str = "uniform"
    passes: tuple[int | None, ...] | None = None
    tolerance: float | None = None
    start_step: int | None = None
    end_step: int | None = None
    start_percent: float | None = None
    end_percent: float | None = None
    feature_dtype: str = "same"
    feature_device: str = "same"
    prefetch: bool = True

    def __post_init__(self) -> None:
        for name in ("interval", "branch", "center", "start_step", "end_step"):
            check_whole(name, getattr(self, name))
        UniformSchedule(self.interval)
        if self.branch < 0:
            raise OptionError(f"branch must be 0 or more, got {self.branch}; 0 is fastest")
        self._check_forecast()
        if not 1 < self.power <= MAX_POWER:  # also refuses NaN
            raise ScheduleError(f"power must be above 1 and at most {MAX_POWER}, got {self.power}; 1.4 is usual")
        if self.center is not None and self.center < 0:
            raise ScheduleError(f"center must be an evaluation index from 0, got {self.center}")
        if self.full_evaluations is not None:
            for evaluation in self.full_evaluations:
                check_whole("full_evaluations", evaluation)
            ExplicitSchedule(self.full_evaluations)
            object.__setattr__(self, "full_evaluations", tuple(self.full_evaluations))
        self._check_window()
        self._check_when()
        self.new_store()

    def _check_when(self) -> None:
        """One way of saying when to run in full."""
        if self.spacing not in SPACINGS:
            raise OptionError(f"spacing must be {', '.join(SPACINGS[:-1])} or {SPACINGS[-1]}, got {self.spacing!r}")
        ways = {
            "center": self.center is not None,
            "full_evaluations": self.full_evaluations is not None,
            "spacing": self.spacing != "uniform",
            "passes": self.passes is not None,
            "tolerance": self.tolerance is not None,
        }
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise OptionError(f"{' and '.join(given)} both say when to run in full; give one of them")
        if given and given[0] in ("passes", "tolerance") and self.is_windowed:
            raise OptionError(f"{given[0]} decides for the whole run; leave the window of steps or percent out")
        if self.passes is not None:
            for branch in self.passes:
                check_whole("passes", branch)
            object.__setattr__(self, "passes", PlannedSchedule(tuple(self.passes)).passes)
            if self.forecast == CALIBRATED and len(self.branches) > 1:
                raise OptionError(
                    f"the calibrated forecast measures one branch, and the passes cut at {self.branches}; "
                    "give passes of one branch, or a forecast with slopes for each"
                )
        if self.tolerance is not None:
            AdaptiveSchedule(self.tolerance)

    @property
    def is_windowed(self) -> bool:
        """Whether features may be reused in a part of the run only."""
        window = (self.start_step, self.end_step, self.start_percent, self.end_percent)
        return any(edge is not None for edge in window)

    @property
    def branches(self) -> tuple[int, ...]:
        """The branches at which the UNet is cut in one run."""
        return (self.branch,) if self.passes is None else PlannedSchedule(self.passes).branches

    def _check_forecast(self) -> None:
        if isinstance(self.forecast, str):
            known = self.forecast in (*FORECASTS, CALIBRATED)
        else:
            known = hasattr(self.forecast, "history_size") and hasattr(self.forecast, "predict")
        if not known:
            names = ", ".join((*FORECASTS, CALIBRATED))
            raise OptionError(f"forecast must be {names} or have history_size and predict, got {self.forecast!r}")

    def _check_window(self) -> None:
        by_step = self.start_step is not None or self.end_step is not None
        by_percent = self.start_percent is not None or self.end_percent is not None
        if by_step and by_percent:
            raise OptionError("the window is given in steps and in percent; give one of the two")
        start, end = (self.start_percent or 0.0), (1.0 if self.end_percent is None else self.end_percent)
        if not 0 <= start < end <= 1:
            raise OptionError(f"start_percent and end_percent must have 0 <= start < end <= 1, got {start} and {end}")
        first = self.start_step or 0
        if first < 0 or (self.end_step is not None and self.end_step <= first):
            raise OptionError(f"start_step and end_step must have 0 <= start < end, got {first} and {self.end_step}")

    def new_forecast(self, slopes: Slopes | None = None) -> Forecast:
        """The forecast object that these options name; "calibrated" is the straight line without `slopes`."""
        if self.forecast == CALIBRATED:
            return LinearForecast() if slopes is None else CalibratedForecast(slopes)
        return FORECASTS[self.forecast]() if isinstance(self.forecast, str) else self.forecast

    def new_store(self) -> FeatureStore:
        """What keeps the features of one run."""
        return FeatureStore(self.feature_dtype, self.feature_device, prefetch=self.prefetch)

    def schedule(self, *, evaluations: int | None, evaluations_per_step: int = 1) -> ReuseSchedule:
        """The schedule for a run of `evaluations` UNet evaluations (None where that is not known).

        Raises:
            OptionError: if the length of the run is needed and not known.
            ScheduleError: if the passes, the non-uniform schedule or the window do not fit the run.
        """
        if self.passes is not None:
            if evaluations is not None and evaluations != len(self.passes):
                raise ScheduleError(
                    f"passes says what each of {len(self.passes)} evaluations is, and this run has {evaluations}; "
                    "give one entry for each (a plan file is stretched to other runs)"
                )
            return PlannedSchedule(self.passes)
        if self.tolerance is not None:
            return AdaptiveSchedule(self.tolerance, evaluations)
        order = evaluations_per_step
        first, last = self._window(evaluations, order)
        if first >= last or (self.interval == 1 and self.full_evaluations is None):
            return UniformSchedule(1)
        if self.full_evaluations is not None:
            inner: ReuseSchedule = ExplicitSchedule(max(e - first * order, 0) for e in self.full_evaluations)
        elif self.spacing != "uniform":
            length = min(last * order, _known(evaluations)) - first * order
            spaced = late_schedule if self.spacing == "late" else spread_schedule
            inner = spaced(length, -(-length // self.interval)) if length > 0 else UniformSchedule(1)
        elif self.center is not None:
            end = last * order if evaluations is None else min(last * order, evaluations)
            inner = self._around_center(first * order, _known(None if end >= _FOREVER else end))
        else:
            inner = UniformSchedule(self.interval)
        if first == 0 and last == _FOREVER:
            return inner
        return WindowedSchedule(inner, first, last, order)

    def _window(self, evaluations: int | None, order: int) -> tuple[int, int]:
        """First step in which features may be reused, and the first in which they may no more."""
        if self.start_percent is None and self.end_percent is None:
            return self.start_step or 0, _FOREVER if self.end_step is None else self.end_step
        steps = -(-_known(evaluations) // order)
        first = round((self.start_percent or 0.0) * steps)
        return first, _FOREVER if self.end_percent is None else round(self.end_percent * steps)

    def _around_center(self, first: int, end: int) -> ReuseSchedule:
        """The non-uniform schedule within the evaluations [first, end)."""
        assert self.center is not None
        if not first <= self.center < end:
            raise ScheduleError(f"center must be an evaluation of the window, {first}..{end - 1}, got {self.center}")
        return quadratic_schedule(
            end - first, -(-(end - first) // self.interval), center=self.center - first, power=self.power
        )


_FOREVER = 1 << 30


def check_whole(name: str, value: object) -> None:
    """Refuse a value that is neither None nor a whole number.

    Raises:
        OptionError: naming the option and the value.
    """
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise OptionError(f"{name} must be a whole number, got {value!r}")


def _known(evaluations: int | None) -> int:
    if evaluations is None:
        raise OptionError(
            "this pipeline does not say how many steps it runs; give the window in steps, and no center or spacing"
        )
    return evaluations
