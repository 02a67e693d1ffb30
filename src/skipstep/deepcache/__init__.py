"""The core: a UNet cut at skip connections, run in full or around stored deep features. Needs torch only."""

from ._proxy import UNetProxy
from ._view import module_view
from .adaptive import AdaptiveSchedule
from .calibrated import CalibratedForecast, PlannedSlopes, Slopes, SlopeTable
from .calibration import CalibrationMemory, Calibrations, RunShape
from .diffusers_unet import DiffusersUNetSplit, count_skips
from .forecast import FeatureHistory, Forecast, LinearForecast, Position, QuadraticForecast, VerbatimForecast
from .mixed_unet import DiffusersMixedSplit, tapped_cuts
from .options import DeepCache
from .pipeline import AttachedRun, attach, speed_up
from .report import PassFlops, RunReport
from .responses import Responses, ResponseSession
from .schedule import (
    ExplicitSchedule,
    PlannedSchedule,
    ReuseSchedule,
    UniformSchedule,
    WindowedSchedule,
    quadratic_schedule,
    spread_schedule,
)
from .session import DeepCacheSession, MixedSplit, UNetSplit

__all__ = [
    "AdaptiveSchedule",
    "AttachedRun",
    "CalibratedForecast",
    "CalibrationMemory",
    "Calibrations",
    "DeepCache",
    "DeepCacheSession",
    "DiffusersMixedSplit",
    "DiffusersUNetSplit",
    "ExplicitSchedule",
    "FeatureHistory",
    "Forecast",
    "LinearForecast",
    "MixedSplit",
    "PassFlops",
    "PlannedSchedule",
    "PlannedSlopes",
    "Position",
    "QuadraticForecast",
    "ResponseSession",
    "Responses",
    "ReuseSchedule",
    "RunReport",
    "RunShape",
    "SlopeTable",
    "Slopes",
    "UNetProxy",
    "UNetSplit",
    "UniformSchedule",
    "VerbatimForecast",
    "WindowedSchedule",
    "attach",
    "count_skips",
    "module_view",
    "quadratic_schedule",
    "speed_up",
    "spread_schedule",
    "tapped_cuts",
]
