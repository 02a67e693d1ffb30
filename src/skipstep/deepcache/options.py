"""How a pipeline is to be sped up: one frozen, self-validating set of options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import OptionError, ScheduleError
from .forecast import Forecast, LinearForecast, VerbatimForecast
from .schedule import ExplicitSchedule, ReuseSchedule, UniformSchedule, WindowedSchedule, quadratic_schedule

FORECASTS: dict[str, Callable[[], Forecast]] = {"verbatim": VerbatimForecast, "linear": LinearForecast}


@dataclass(frozen=True, kw_only=True)
class DeepCache:
    """Options of feature reuse.

    `interval`: evaluations from one full pass to the next; 1 runs every pass in full.
    `branch`: index of the skip connection at which the UNet is cut; 0 is fastest.
    `forecast`: "verbatim", "linear" or an object with `history_size` and `predict`.
    `center`, `power`: with a center (an evaluation index), as many full passes as `interval` gives are spread
    non-uniformly, denser around it (arXiv:2312.00858, section 3.3).
    `full_evaluations`: the exact evaluations to run in full, instead of all of the above about when.
    `start_step`, `end_step`: steps [start, end) in which features may be reused; outside, every pass is full.
    `start_percent`, `end_percent`: the same window as fractions (0 to 1) of the run's steps.

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
    start_step: int | None = None
    end_step: int | None = None
    start_percent: float | None = None
    end_percent: float | None = None

    def __post_init__(self) -> None:
        UniformSchedule(self.interval)
        if self.branch < 0:
            raise OptionError(f"branch must be 0 or more, got {self.branch}; 0 is fastest")
        if isinstance(self.forecast, str) and self.forecast not in FORECASTS:
            raise OptionError(f"forecast must be one of {', '.join(FORECASTS)}, got {self.forecast!r}")
        if self.power <= 1:
            raise ScheduleError(f"power must be above 1, got {self.power}; 1.4 is usual")
        if self.full_evaluations is not None:
            if self.center is not None:
                raise OptionError("center and full_evaluations both say when to run in full; give one of them")
            ExplicitSchedule(self.full_evaluations)
        self._check_window()

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

    def new_forecast(self) -> Forecast:
        """The forecast object that these options name."""
        return FORECASTS[self.forecast]() if isinstance(self.forecast, str) else self.forecast

    def schedule(self, *, evaluations: int | None, evaluations_per_step: int = 1) -> ReuseSchedule:
        """The schedule for a run of `evaluations` UNet evaluations (None where that is not known).

        Raises:
            OptionError: if the length of the run is needed and not known.
            ScheduleError: if the non-uniform schedule or the window does not fit the run.
        """
        order = evaluations_per_step
        if self.start_percent is None and self.end_percent is None:
            first, last = self.start_step or 0, self.end_step
        else:
            steps = -(-_known(evaluations) // order)
            first = round((self.start_percent or 0.0) * steps)
            last = None if self.end_percent is None else round(self.end_percent * steps)
        end = order * last if last is not None else None
        if end is not None and evaluations is not None:
            end = min(end, evaluations)
        if self.full_evaluations is not None:
            inner: ReuseSchedule = ExplicitSchedule(max(e - first * order, 0) for e in self.full_evaluations)
        elif self.center is not None:
            length = (_known(evaluations) if end is None else end) - first * order
            inner = quadratic_schedule(
                length, -(-length // self.interval), center=self.center - first * order, power=self.power
            )
        else:
            inner = UniformSchedule(self.interval)
        if first == 0 and last is None:
            return inner
        return WindowedSchedule(inner, first, _FOREVER if last is None else last, order)


_FOREVER = 1 << 30


def _known(evaluations: int | None) -> int:
    if evaluations is None:
        raise OptionError("this pipeline does not say how many steps it runs; give the window in steps, and no center")
    return evaluations
