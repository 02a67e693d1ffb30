"""The core: a UNet cut at skip connections, run in full or around stored deep features. Needs torch only."""

from ._live import live_split
from ._proxy import UNetProxy
from ._view import module_view
from .adaptive import AdaptiveSchedule
from .branch_costs import BranchCost, branch_costs
from .calibrated import CalibratedForecast, PlannedSlopes, Slopes, SlopeTable
from .calibration import CalibrationMemory, Calibrations, RunShape
from .diffusers_unet import DiffusersUNetSplit, count_skips
from .flops import InputShapes
from .forecast import Forecast, LinearForecast, QuadraticForecast, VerbatimForecast
from .history import FeatureHistory, Position
from .ldm_unet import LdmMixedSplit, LdmUNetSplit, count_ldm_skips, ldm_call
from .mixed_unet import DiffusersMixedSplit, tapped_cuts
from .options import DeepCache
from .pipeline import AttachedRun, SplitMaker, attach, speed_up
from .report import PassFlops, RunReport
from .response_session import ResponseSession
from .responses import Responses
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
from .session import DeepCacheSession
from .split import MixedSplit, UNetSplit
from .storage import FeatureStore
from .unet_inputs import image_inputs, video_inputs

__all__ = [
    "AdaptiveSchedule",
    "AttachedRun",
    "BranchCost",
    "CalibratedForecast",
    "CalibrationMemory",
    "Calibrations",
    "DeepCache",
    "DeepCacheSession",
    "DiffusersMixedSplit",
    "DiffusersUNetSplit",
    "ExplicitSchedule",
    "FeatureHistory",
    "FeatureStore",
    "Forecast",
    "InputShapes",
    "LdmMixedSplit",
    "LdmUNetSplit",
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
    "SplitMaker",
    "UNetProxy",
    "UNetSplit",
    "UniformSchedule",
    "VerbatimForecast",
    "WindowedSchedule",
    "attach",
    "branch_costs",
    "count_ldm_skips",
    "count_skips",
    "image_inputs",
    "late_schedule",
    "ldm_call",
    "live_split",
    "module_view",
    "quadratic_schedule",
    "speed_up",
    "spread_schedule",
    "tapped_cuts",
    "video_inputs",
]
