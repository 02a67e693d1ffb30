"""Requests, models, samplers and pictures: what the command line, the service and the benchmarks are made of."""

from ..plan.presets import PRESETS, preset
from .compare import Comparison, compare
from .image import GeneratedImage, ImageEngine
from .models import LoadedModel, load_model
from .request import ImageRequest
from .samplers import SAMPLERS

__all__ = [
    "PRESETS",
    "SAMPLERS",
    "Comparison",
    "GeneratedImage",
    "ImageEngine",
    "ImageRequest",
    "LoadedModel",
    "compare",
    "load_model",
    "preset",
]
