"""The models that ship with skipstep: really trained, tiny, and loaded without a download."""

from .sd15 import load_demo_sd15
from .sdxl import COLOURS, OBJECTS, VOCABULARY, load_demo_sdxl, unknown_words
from .shipped import nearest_plan, shipped_plans
from .svd import MOTIONS, load_demo_svd

__all__ = [
    "COLOURS",
    "MOTIONS",
    "OBJECTS",
    "VOCABULARY",
    "load_demo_sd15",
    "load_demo_sdxl",
    "load_demo_svd",
    "nearest_plan",
    "shipped_plans",
    "unknown_words",
]
