"""Plans: schedules and slopes measured on the model at hand, searched to a budget and verified by real runs."""

from .adapt import is_exact, plan_options
from .collector import ResponseCollector
from .costs import GapCosts
from .file import Plan, load_plan, plan_bytes
from .fingerprint import Fingerprint, fingerprint, ldm_fingerprint
from .gains import SamplerPath, output_gains, path_gains
from .likeness import latent_psnr, median_psnr
from .planner import Bench, Measured, Planner, Trial
from .presets import LOSSLESS, PRESETS, preset
from .search import best_mixed, best_schedules

__all__ = [
    "LOSSLESS",
    "PRESETS",
    "Bench",
    "Fingerprint",
    "GapCosts",
    "Measured",
    "Plan",
    "Planner",
    "ResponseCollector",
    "SamplerPath",
    "Trial",
    "best_mixed",
    "best_schedules",
    "fingerprint",
    "is_exact",
    "latent_psnr",
    "ldm_fingerprint",
    "load_plan",
    "median_psnr",
    "output_gains",
    "path_gains",
    "plan_bytes",
    "plan_options",
    "preset",
]
