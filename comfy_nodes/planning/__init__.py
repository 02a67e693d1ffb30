"""Plans made in ComfyUI: the planner on a connected MODEL, sampled from by ComfyUI itself."""

from __future__ import annotations

from .job import MadePlan, PlanJob
from .place import PlanPlace, plan_place
from .runs import RunSettings
from .subjects import Subject, Subjects, prompt_subjects, seed_subjects
from .target import Speed, target_of

__all__ = [
    "MadePlan",
    "PlanJob",
    "PlanPlace",
    "RunSettings",
    "Speed",
    "Subject",
    "Subjects",
    "plan_place",
    "prompt_subjects",
    "seed_subjects",
    "target_of",
]
