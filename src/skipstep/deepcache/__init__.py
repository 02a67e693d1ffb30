"""The core: a UNet cut at one skip connection, run in full or around stored deep features. Needs torch only."""

from .diffusers_unet import DiffusersUNetSplit, count_skips
from .forecast import FeatureHistory, Forecast, LinearForecast, Position, VerbatimForecast
from .options import DeepCache
from .pipeline import AttachedRun, attach, speed_up
from .report import PassFlops, RunReport
from .schedule import ExplicitSchedule, ReuseSchedule, UniformSchedule, WindowedSchedule, quadratic_schedule
from .session import DeepCacheSession, UNetSplit

__all__ = [
    "AttachedRun",
    "DeepCache",
    "DeepCacheSession",
    "DiffusersUNetSplit",
    "ExplicitSchedule",
    "FeatureHistory",
    "Forecast",
    "LinearForecast",
    "PassFlops",
    "Position",
    "ReuseSchedule",
    "RunReport",
    "UNetSplit",
    "UniformSchedule",
    "VerbatimForecast",
    "WindowedSchedule",
    "attach",
    "count_skips",
    "quadratic_schedule",
    "speed_up",
]
