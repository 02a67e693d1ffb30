"""Plans: schedules and slopes measured on the model at hand, searched to a budget and verified by real runs."""

from .adapt import is_exact, plan_options
from .costs import GapCosts
from .file import Plan, load_plan, plan_bytes
from .fingerprint import Fingerprint, fingerprint
from .gains import output_gains
from .planner import Bench, Measured, Planner, Trial
from .search import best_mixed, best_schedules

__all__ = [
    "Bench",
    "Fingerprint",
    "GapCosts",
    "Measured",
    "Plan",
    "Planner",
    "Trial",
    "best_mixed",
    "best_schedules",
    "fingerprint",
    "is_exact",
    "load_plan",
    "output_gains",
    "plan_bytes",
    "plan_options",
]
