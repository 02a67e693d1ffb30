"""The models that ship with skipstep: really trained, tiny, and loaded without a download."""

from .sdxl import COLOURS, OBJECTS, VOCABULARY, load_demo_sdxl, unknown_words

__all__ = ["COLOURS", "OBJECTS", "VOCABULARY", "load_demo_sdxl", "unknown_words"]
