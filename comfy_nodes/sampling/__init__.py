"""The core in ComfyUI's sampling: a MODEL that is to be sped up, and what happens while it is sampled from."""

from .attach import speed_up, unet_of, without_speedup
from .speedup import FinishedRun, Speedup, speedup_of
from .window import Window

__all__ = ["FinishedRun", "Speedup", "Window", "speed_up", "speedup_of", "unet_of", "without_speedup"]
