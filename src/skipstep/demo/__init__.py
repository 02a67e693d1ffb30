"""The models that ship with skipstep: really trained, tiny, and loaded without a download."""

from .sd15 import load_demo_sd15
from .sdxl import COLOURS, OBJECTS, VOCABULARY, load_demo_sdxl, unknown_words

__all__ = ["COLOURS", "OBJECTS", "VOCABULARY", "load_demo_sd15", "load_demo_sdxl", "unknown_words"]
